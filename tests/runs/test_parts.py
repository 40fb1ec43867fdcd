"""The classes that configs may name are found from the classes that a parser takes."""

from collections.abc import Callable

from idgen.data.datamodule import SubjectDataModule
from idgen.evaluation.fidelity import FidelityScores
from idgen.models.conditioning import Conditioning, DecoupledFusion
from idgen.module import PersonalizationModule
from idgen.runs.parts import configurable_parts, nearest_class


def names(*roots: object) -> set[str]:
    return {part.__name__ for part in configurable_parts(roots)}


def test_parts_of_a_run_are_found_with_all_their_kinds() -> None:
    found = names(PersonalizationModule, SubjectDataModule, FidelityScores)
    expected = "StableDiffusionBackbone LoraTuning TokenTuning LayerTuning CombinedTuning Sampler"
    expected += " DecoupledFusion TextOnly ClassImages Subject Preparation ImageEncoder"
    expected += " WeakDenoising BackgroundPreservation ClipScorer DinoScorer SamSegmenter"
    expected += " GrabCutSegmenter MaskFiles OpenCVInpainter DiffusersInpainter"
    assert set(expected.split()) <= found


def test_a_part_of_ones_own_is_found() -> None:
    class Mine(Conditioning):
        pass

    assert {"Mine", "DecoupledFusion"} <= names(Callable[[int], Conditioning])
    found = names(dict[str, DecoupledFusion | None])
    assert "DecoupledFusion" in found
    assert "TextOnly" not in found
    assert names(int, None) == set()


def test_the_nearest_class_is_named_by_its_shortest_path() -> None:
    said = "module 'idgen.prepare' has no attribute 'MaskFile'"
    assert nearest_class(said, configurable_parts([SubjectDataModule])) == "idgen.prepare.MaskFiles"
    assert nearest_class("something else", [DecoupledFusion]) is None

    class Local(Conditioning):
        """Has no name in its module, and hides no other."""

    assert nearest_class("something else", [Local]) is None
    assert nearest_class(said, [*configurable_parts([SubjectDataModule]), Local]) == (
        "idgen.prepare.MaskFiles"
    )
