import json
from dataclasses import replace

import pytest

from idgen.errors import UserError
from idgen.evaluation.protocol import PAIRING, Protocol, limit_of

PROTOCOL = Protocol(
    dino="facebook/dino-vits16",
    dino_revision="abc",
    dino_identity="1",
    dino_preprocessing={"resize": (256, 256), "crop": (224, 224)},
    clip="ViT-B-32",
    clip_revision="openai",
    clip_identity="2",
    clip_preprocessing={"resize": (224, 224), "mode": "shortest"},
    pairing=PAIRING,
    photo_segmenter="3",
    segmenter="3",
    inpainter=None,
    sampler={"name": "Sampler", "steps": 25, "guidance": 5.0},
    drawing_seed=0,
    prompts="4",
    images_per_prompt=4,
    idgen_version="0.1.0",
)


def test_json_gives_back_the_same() -> None:
    stored = json.loads(json.dumps(PROTOCOL.to_json()))
    assert stored == PROTOCOL.to_json()
    again = Protocol.from_json(stored)
    assert again.differences(PROTOCOL) == PROTOCOL.differences(again) == []


def test_every_field_that_decides_scores_makes_a_difference() -> None:
    read_only = {"dino", "dino_revision", "clip", "clip_revision"}
    for name in PROTOCOL.to_json():
        other = Protocol(**{**PROTOCOL.to_json(), name: "other"})
        differences = PROTOCOL.differences(other)
        assert [d.field for d in differences] == ([] if name in read_only else [name])


def test_differences_name_both_values_in_order() -> None:
    other = replace(PROTOCOL, images_per_prompt=1, sampler={"name": "Sampler", "steps": 50})
    first, second = PROTOCOL.differences(other)
    assert first == ("sampler", PROTOCOL.sampler, other.sampler)
    assert second == ("images_per_prompt", 4, 1)


def test_fields_can_be_left_out() -> None:
    other = replace(PROTOCOL, images_per_prompt=1, drawing_seed=7)
    differences = PROTOCOL.differences(other, but=("drawing_seed",))
    assert [difference.field for difference in differences] == ["images_per_prompt"]


def test_a_suite_that_is_cut_short_is_another_protocol() -> None:
    assert [limit_of(batches) for batches in (None, 1.0, 1, 0.5)] == [None, None, 1, 0.5]
    with pytest.raises(UserError, match=r"limit_test_batches is 0, and so nothing is drawn"):
        limit_of(0)
    [difference] = PROTOCOL.differences(replace(PROTOCOL, limit=1))
    assert difference == ("limit", None, 1)


def test_a_result_from_before_a_field_is_read_as_one_without() -> None:
    earlier = PROTOCOL.to_json()
    del earlier["scores"], earlier["limit"]
    assert Protocol.from_json(earlier).differences(PROTOCOL) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [({"colour": 1}, "'colour' is unknown"), ({"clip": ...}, "'clip' is missing")],
)
def test_another_versions_protocol_is_refused(change: dict[str, object], said: str) -> None:
    data = PROTOCOL.to_json() | change
    kept = {name: value for name, value in data.items() if value is not ...}
    with pytest.raises(UserError, match=said):
        Protocol.from_json(kept)
    with pytest.raises(UserError, match="missing"):
        Protocol.from_json(None)
