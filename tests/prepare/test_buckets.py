import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.errors import UserError
from idgen.prepare.buckets import AspectBuckets, Size, closest


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([4, 8, 16]),
    st.integers(8, 80),
    st.floats(1, 4),
    st.integers(64, 3000),
    st.integers(64, 3000),
)
def test_sizes_are_whole_patches_of_one_area_in_the_nearest_aspect(
    unit: int, count: int, most: float, height: int, width: int
) -> None:
    resolution = unit * count
    sizes = AspectBuckets(max_aspect=most).sizes(resolution, unit)
    assert Size(resolution, resolution) in sizes
    assert len(set(sizes)) == len(sizes)
    step = math.gcd(*(side for size in sizes for side in size))
    assert step % unit == 0
    for size in sizes:
        assert Size(size.width, size.height) in sizes
        assert max(size) <= most * min(size)
        # No other multiple of a step beside this side comes nearer to the area.
        error = abs(size.height * size.width - resolution**2)
        assert error <= step * max(size) / 2
    chosen = closest(sizes, height, width)
    ratios = [abs(math.log(s.width / s.height * height / width)) for s in sizes]
    assert ratios[sizes.index(chosen)] == pytest.approx(min(ratios))


def test_the_usual_photos_of_a_camera_at_512() -> None:
    sizes = AspectBuckets().sizes(512, 8)
    assert all(side % 64 == 0 for size in sizes for side in size)
    assert closest(sizes, 3024, 4032) == (448, 576)
    assert closest(sizes, 4032, 3024) == (576, 448)
    assert closest(sizes, 2000, 2000) == (512, 512)
    assert closest(sizes, 500, 5000) == (384, 704)


def test_a_step_is_a_patch_where_nothing_larger_divides() -> None:
    assert math.gcd(*(side for s in AspectBuckets().sizes(8 * 67, 8) for side in s)) == 8
    assert {side % 32 for s in AspectBuckets(step=32).sizes(512, 8) for side in s} == {0}


@pytest.mark.parametrize(
    ("buckets", "error"),
    [
        ({"step": 48}, r"buckets\.step: 48 .* divides the resolution 512; give one of 8, 16, 32"),
        ({"step": 4}, r"buckets\.step: 4 is no multiple of 8"),
        ({"step": 0}, r"buckets\.step: 0 is not 1 or more"),
        ({"max_aspect": 0.5}, r"buckets\.max_aspect: 0\.5 is no number from 1 on"),
        ({"max_aspect": math.nan}, r"buckets\.max_aspect: nan"),
    ],
)
def test_what_is_refused(buckets: dict[str, float], error: str) -> None:
    with pytest.raises(UserError, match=error):
        AspectBuckets(**buckets).sizes(512, 8)  # type: ignore[arg-type]


def test_an_aspect_beyond_all_pictures_ends() -> None:
    sizes = AspectBuckets(max_aspect=1e300).sizes(64, 8)
    assert max(max(size) for size in sizes) <= 2 * 64**2 // 8
