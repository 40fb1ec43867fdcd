"""From a config to cells, where photos come about in regimes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.benchmark.plan import Plan, make_plan
from idgen.benchmark.subjects import find_benchmark_subjects
from idgen.errors import UserError
from idgen.mini.subjects import TRUTH, sample_subject, write_subject
from tests.benchmark.settings import LORA, TWO, config_of
from tests.workspace import TinyModels, Workspace, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """A subject; each test has a benchmark's folder of its own."""
    return make_workspace(tmp_path_factory.mktemp("regimes"), tiny_models)


REGIMES = ["scenes=1&photos=2&masks=wide&captions=right", "scenes=1&photos=2&masks=grabcut"]
CENTRE = "tests.prepare.parts.CentreSegmenter"


def in_regimes(workspace: Workspace, folder: Path, **changed: Any) -> Plan:
    given = {"methods": TWO, "subjects": ["mini:3", "mini:4"], "regimes": REGIMES, **changed}
    given.setdefault("settings", {"data.preparation.segmenter": CENTRE})
    return make_plan(config_of(workspace, output=str(folder), **given))


def test_every_numbered_subject_is_compared_in_every_regime(
    workspace: Workspace, tmp_path: Path
) -> None:
    plan = in_regimes(workspace, tmp_path)
    assert len(plan.cells) == len({p.cell.folder for p in plan.cells}) == 2 * 2 * 2
    assert [subject.regime.label for subject in plan.subjects] == [r for r in REGIMES for _ in "12"]
    assert {p.cell.record["subject"]["regime"] for p in plan.cells} == set(REGIMES)
    by_hand = in_regimes(
        workspace,
        tmp_path,
        regimes=[],
        subjects=[f"mini:{number}?{regime}" for regime in REGIMES for number in (3, 4)],
    )
    assert [p.cell.key for p in by_hand.cells] == [p.cell.key for p in plan.cells]


def test_all_methods_train_with_the_regimes_masks_and_drawings_are_segmented_as_before(
    workspace: Workspace, tmp_path: Path
) -> None:
    for planned in in_regimes(workspace, tmp_path).cells:
        [text] = planned.cell.files.values()
        config, own = yaml.safe_load(text), planned.subject
        parts = config["data"]["preparation"]["init_args"]
        assert parts["segmenter"] == own.segmenter
        # What else the config says of the preparation stays.
        assert parts["image_encoder"]["init_args"]["model"].endswith("encoder")
        assert config["fidelity"]["segmenter"]["class_path"] == CENTRE
        [text] = planned.preparation.files.values()
        preparation = yaml.safe_load(text)["data"]["preparation"]
        assert preparation["init_args"]["segmenter"] == own.segmenter
        # The record tells masks by their content, not by their place.
        assert str(tmp_path) not in str(planned.cell.record)
        writes = own.regime.writes_masks
        assert len(planned.cell.record["subject"].get("masks", {})) == (2 if writes else 0)
        assert ("captions" in planned.cell.record["subject"]) == writes


def test_a_plain_regime_is_the_subject_itself(workspace: Workspace, tmp_path: Path) -> None:
    plain = in_regimes(workspace, tmp_path, regimes=[])
    again = in_regimes(workspace, tmp_path, regimes=["plain"])
    assert [p.cell.key for p in plain.cells] == [p.cell.key for p in again.cells]
    assert "regime" not in plain.cells[0].cell.record["subject"]


def test_without_masks_only_methods_that_need_none_are_compared(
    workspace: Workspace, tmp_path: Path
) -> None:
    lora = {"configs": [str(LORA)]}
    kept = in_regimes(workspace, tmp_path, regimes=["masks=none"], methods={"ours": lora})
    assert len(kept.cells) == 2
    needing = {"ours": lora, "fused": {}}
    with pytest.raises(UserError, match=r"method 'fused': .* no masks.*, and f'_i needs them"):
        in_regimes(workspace, tmp_path, regimes=["masks=none"], methods=needing)
    masked = {"ours": {**lora, "settings": {"model.terms.diffusion.init_args.background": 0.0}}}
    with pytest.raises(UserError, match=r"and terms\.diffusion needs them"):
        in_regimes(workspace, tmp_path, regimes=["masks=none"], methods=masked)


def test_captions_that_a_regime_lacks_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data.captions.use": "always"}
    captioned = {"ours": {"settings": settings}}
    plan = in_regimes(workspace, tmp_path, regimes=REGIMES[:1], methods=captioned)
    assert len(plan.cells) == 2
    with pytest.raises(UserError, match=r"method 'ours': .*captions=none says: set"):
        in_regimes(workspace, tmp_path, regimes=REGIMES, methods=captioned)
    settings["data.captions.files"] = False
    with pytest.raises(UserError, match=r"data\.captions\.files: .* which are not read"):
        in_regimes(workspace, tmp_path, regimes=REGIMES[:1], methods=captioned)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"regimes": ["scenes=9"]}, "scenes is from 1 to 5"),
        ({"subjects": ["mini:robot"]}, "regimes: 'mini:robot' takes none"),
        ({"subjects": ["mini:3?scenes=1"]}, "takes none"),
        ({"subjects": ["mini:robot?scenes=1"], "regimes": []}, "a regime is for numbered subjects"),
        ({"subjects": ["mini:3?scenes=1&scenes=1"], "regimes": []}, "scenes is given twice"),
        ({"regimes": ["scenes=1", "scenes=1"]}, "are one regime"),
        ({"regimes": ["plain", "scenes=5"]}, "'plain' and 'scenes=5' are one regime"),
        ({"regimes": ["scenes=" + "9" * 5000]}, "regimes: .*scenes is a whole number, not '9"),
        ({"subjects": ["mini:" + "9" * 5000], "regimes": []}, "more than 18 digits"),
        ({"settings": {}}, "fidelity.segmenter: drawings have no mask files"),
    ],
)
def test_regimes_that_cannot_be_are_refused(
    workspace: Workspace, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        in_regimes(workspace, tmp_path, **changed)


@pytest.mark.parametrize("change", ["a photo less", "a photo more", "another subject", "no truth"])
def test_photos_that_are_not_the_subjects_are_refused(
    workspace: Workspace, tmp_path: Path, change: str
) -> None:
    [subject] = find_benchmark_subjects(["mini:3?scenes=1&photos=2"], None, tmp_path)
    subject.write_photos()
    replace(subject).write_photos()
    if change == "a photo less":
        (subject.photos / "02.png").unlink()
    elif change == "a photo more":
        [one, _] = write_subject(sample_subject(4, regime=subject.regime), tmp_path / "other")
        one.rename(subject.photos / "03.png")
    elif change == "another subject":
        write_subject(sample_subject(4, regime=subject.regime), subject.photos)
    else:
        (subject.photos / TRUTH).unlink()
    with pytest.raises(UserError, match=r"does not hold what mini:3\?scenes=1&photos=2 is"):
        replace(subject).write_photos()


def test_a_caption_of_a_regime_without_captions_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    plan = in_regimes(workspace, tmp_path, regimes=["scenes=1"])
    # Neither of them is a caption.
    (plan.subjects[0].photos / "class_noun.txt").write_text("fish")
    (plan.subjects[0].photos / "notes.txt").write_text("drawn in November")
    in_regimes(workspace, tmp_path, regimes=["scenes=1"])
    (plan.subjects[0].photos / "01.txt").write_text("a photo of a [V] fish")
    said = r"01\.txt is a caption of a regime without .* mini:3\?scenes=1&captions=right"
    with pytest.raises(UserError, match=said):
        in_regimes(workspace, tmp_path, regimes=["scenes=1"])
