import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from idgen.errors import UserError
from idgen.masks import overlap
from idgen.prepare import Photo, SaliencySegmenter, find_photos
from idgen.prepare.segmenters.prompts import PROMPTS
from idgen.prepare.segmenters.saliency import Looks, look_twice
from idgen.prepare.segmenters.saliency_weights import SaliencyWeights
from tests.prepare.pictures import CPU, one_line, picture, red, save_pictures
from tests.prepare.segmenters.tiny_saliency import save_network


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return save_network(tmp_path / "redness.onnx", 64)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return find_photos(save_pictures(tmp_path / "dog", 1, 2, 3))


def test_what_stands_out_is_the_mask(network: Path, photos: list[Photo]) -> None:
    segmenter = SaliencySegmenter(str(network))
    segmenter.check(photos)
    with segmenter.loaded(CPU, photos) as segment:
        masks = [segment(photo) for photo in photos]
    for mask, photo in zip(masks, photos, strict=True):
        assert mask.dtype == np.bool_
        assert overlap(mask, red(photo.pixels())) > 0.85
    with segmenter.finding(CPU, photos) as find:
        found = [find(photo) for photo in photos]
    assert [f.source for f in found] == ["saliency"] * 3
    np.testing.assert_array_equal([f.mask for f in found], masks)


@pytest.mark.parametrize(
    ("maps", "side", "name"), [(2, 64, "isnet"), (1, 64, "birefnet"), (7, 320, "u2net")]
)
def test_colours_are_as_each_family_wants_them(
    tmp_path: Path, maps: int, side: int, name: str
) -> None:
    """ISNet takes colours less 0.5, the others ImageNet's; told by inputs and outputs."""
    path = save_network(tmp_path / "n.onnx", side, maps=maps)
    weights = SaliencyWeights(str(path))
    assert weights.family_of(weights.session(CPU)) == name
    pixels = np.full((40, 56, 3), (140, 120, 100), np.uint8)
    with SaliencySegmenter(str(path)).network(CPU) as salience:
        values = salience(pixels)
    colours = pixels[0, 0].astype(np.float64) / 255
    if name == "isnet":
        seen = colours - 0.5
    else:
        seen = (colours - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    expected = 1 / (1 + np.exp(-(8 * seen[0] - 4 * seen[1] - 4 * seen[2])))
    np.testing.assert_allclose(values, np.full((40, 56), expected), atol=1e-4)


def test_logits_and_shares_give_the_same(tmp_path: Path, photos: list[Photo]) -> None:
    values = []
    for logits in (False, True):
        path = save_network(tmp_path / f"{logits}.onnx", 64, logits=logits)
        with SaliencySegmenter(str(path), "isnet").network(CPU) as salience:
            values.append(salience(photos[0].pixels()))
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)


def test_a_network_that_finds_nothing_gives_an_empty_mask(
    tmp_path: Path, photos: list[Photo]
) -> None:
    """What it gives is not stretched from 0 to 1, which would make something of nothing."""
    path = save_network(tmp_path / "none.onnx", offset=-20)
    with SaliencySegmenter(str(path)).finding(CPU, photos) as find:
        found = find(photos[0])
    assert not found.mask.any()
    assert found.doubts == ()


def test_an_unsure_network_is_doubted(photos: list[Photo]) -> None:
    mask = red(photos[0].pixels())

    def found(whole: np.ndarray, closer: np.ndarray) -> Looks:
        return Looks(whole.astype(np.float32), closer.astype(np.float32))

    (unsure,) = found(np.where(mask, 0.6, 0.05), mask).doubts()
    assert "unsure about 100 %" in unsure
    assert found(mask, mask).doubts() == []
    (moved,) = found(mask, np.roll(mask, 12, axis=1)).doubts()
    assert "seen closer up" in moved


def test_what_stands_out_less_when_seen_closer_up_is_left_out() -> None:
    """A network that sees what is beside the subject in the whole picture alone, and faintly."""
    subject, beside = np.zeros((90, 120), bool), np.zeros((90, 120), bool)
    subject[20:60, 30:70], beside[25:55, 72:90] = True, True
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[subject], pixels[beside] = 255, 100
    sides: list[tuple[int, ...]] = []

    def salience(seen: np.ndarray) -> np.ndarray:
        sides.append(seen.shape[:2])
        if len(sides) == 1:
            return np.where(seen[..., 0] > 50, 0.5 + seen[..., 0] / 510, 0).astype(np.float32)
        return (seen[..., 0] > 200).astype(np.float32)

    looks = look_twice(salience, pixels)
    assert sides[0] == (90, 120)
    assert np.prod(sides[1]) < 0.5 * np.prod(sides[0])
    assert looks.whole[beside].min() > 0.5  # the first look alone would take it
    np.testing.assert_array_equal(looks.mask, subject)


def test_a_box_is_looked_at_alone(network: Path, tmp_path: Path) -> None:
    """Of two red things, the one in the box."""
    one, other = picture(1), picture(2)
    folder = tmp_path / "two"
    folder.mkdir()
    Image.fromarray(np.hstack([one, other])).save(folder / "a.png")
    (folder / PROMPTS).write_text("a.png: {box: [58, 2, 110, 38]}")
    photos = find_photos(folder)
    segmenter = SaliencySegmenter(str(network))
    segmenter.check(photos)
    with segmenter.loaded(CPU, photos) as segment:
        mask = segment(photos[0])
    truth = np.hstack([np.zeros((40, 56), bool), red(other)])
    assert overlap(mask, truth) > 0.85
    assert segmenter.key(photos[0]) != segmenter.identity


def test_points_mend_what_was_found(network: Path, tmp_path: Path) -> None:
    """Of two red things, a point off one of them takes it away."""
    folder = tmp_path / "two"
    folder.mkdir()
    both = np.hstack([picture(1), picture(2)])
    Image.fromarray(both).save(folder / "a.png")
    photos = find_photos(folder)
    left, right = (
        np.argwhere(part).mean(axis=0).round() for part in (red(picture(1)), red(picture(2)))
    )
    (folder / PROMPTS).write_text(
        f"a.png: {{points: [[{left[1]}, {left[0]}]], "
        f"background_points: [[{56 + right[1]}, {right[0]}]]}}"
    )
    with SaliencySegmenter(str(network)).loaded(CPU, photos) as segment:
        mask = segment(photos[0])
    truth = np.hstack([red(picture(1)), np.zeros((40, 56), bool)])
    assert overlap(mask, truth) > 0.8


def refusal(model: str) -> str:
    with pytest.raises(UserError) as caught:
        SaliencyWeights(model).session(CPU)
    return one_line(caught.value)


def test_files_that_are_no_such_networks_are_refused(tmp_path: Path) -> None:
    assert "'isnet' is neither a known name nor a file" in refusal("isnet")
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    assert "is no network that finds a salient object" in refusal(str(tmp_path / "a.onnx"))
    (tmp_path / "a.pth").write_bytes(b"nothing")
    assert "is no .onnx file" in refusal(str(tmp_path / "a.pth"))
    flat = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "flat",
        [flat],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "flat.onnx")
    assert "does not take one square picture" in refusal(str(tmp_path / "flat.onnx"))


def save_made(path: Path, node: str, kind: int, side: int | str = 8, **attributes: int) -> str:
    """A network of one node over the mean of the colours."""
    shape = [1, 3, side, side if isinstance(side, int) else "w"]
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        helper.make_node(node, ["mean"], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [1, 1, *shape[2:]])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return str(path)


def test_networks_of_any_size_are_shown_1024_pixels(tmp_path: Path) -> None:
    path = save_made(tmp_path / "free.onnx", "Sigmoid", TensorProto.FLOAT, "h")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    with SaliencySegmenter(path, "isnet").network(CPU) as salience:
        values = salience(pixels)
    colours = pixels.mean(axis=2) / 255 - 0.5
    assert np.corrcoef(values.ravel(), colours.ravel())[0, 1] > 0.95


def test_networks_that_fail_are_refused_in_one_line(tmp_path: Path) -> None:
    half = save_made(tmp_path / "half.onnx", "Sigmoid", TensorProto.FLOAT16)
    assert "it takes tensor(float16), not tensor(float)" in refusal(half)
    pixels = np.zeros((30, 40, 3), np.uint8)  # less 0.5: its logarithm is no number
    for node, attributes, why in (
        ("Log", {}, "what it gives is not finite"),
        ("DepthToSpace", {"blocksize": 2}, "DepthToSpace"),
    ):
        path = save_made(tmp_path / f"{node}.onnx", node, TensorProto.FLOAT, "h", **attributes)
        with (
            SaliencySegmenter(path, "isnet").network(CPU) as salience,
            pytest.raises(UserError) as caught,
        ):
            salience(pixels)
        text = one_line(caught.value)
        assert "is no network that finds a salient object" in text
        assert why in text


def test_without_the_library_the_install_line_is_given(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'idgen[masks]'" in refusal(str(network))


def test_what_rembg_has_fetched_is_taken(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    text = refusal("isnet-general-use")
    assert "cannot fetch 'isnet-general-use' (HF_HUB_OFFLINE is set)" in text
    assert not (tmp_path / "rembg").exists()
    place = tmp_path / "rembg" / "models" / "isnet-general-use"
    assert str(place / "isnet-general-use.onnx") in text
    place.mkdir(parents=True)
    (place / "isnet-general-use.onnx").write_bytes(network.read_bytes())
    assert SaliencySegmenter().identity == SaliencySegmenter("isnet-general-use").identity
    SaliencyWeights("isnet-general-use").session(CPU)


def test_a_download_that_is_not_what_was_published_leaves_nothing(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    from idgen.prepare.segmenters import saliency_weights

    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    served = tmp_path / "served"
    served.mkdir()
    (served / "u2netp.onnx").write_bytes(network.read_bytes())
    monkeypatch.setattr(saliency_weights, "_RELEASE", served.as_uri() + "/")
    assert "what came is not what rembg published" in refusal("u2netp")
    place = tmp_path / "rembg" / "models" / "u2netp"
    assert list(place.iterdir()) == []
    digest = hashlib.md5(network.read_bytes()).hexdigest()
    published = saliency_weights._Published("u2netp.onnx", digest, "u2net")
    monkeypatch.setitem(saliency_weights.PUBLISHED, "u2netp", published)
    SaliencyWeights("u2netp").session(CPU)
    assert [path.name for path in place.iterdir()] == ["u2netp.onnx"]
    (served / "u2netp.onnx").unlink()
    SaliencyWeights("u2netp").session(CPU)  # it is there now
