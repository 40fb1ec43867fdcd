"""Several subjects in one run."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from idgen.commands.summary import summary_table
from idgen.errors import UserError
from idgen.prepare import MaskFiles, Preparation, PreparedSubject
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    preparation,
    save_masks,
    save_photo,
    save_photos,
)


@pytest.fixture
def subjects(tmp_path: Path) -> list[tuple[Path, Path]]:
    numbers = {"dog": (0, 1, 2), "cat": (3, 4), "cup": (5, 6)}
    return [
        (save_photos(tmp_path / "photos" / name, of), tmp_path / "out" / name)
        for name, of in numbers.items()
    ]


def test_each_is_as_if_it_were_alone(subjects: list[tuple[Path, Path]], tmp_path: Path) -> None:
    parts, backbone = preparation(), TinyBackbone()
    outcomes = parts.run_all(subjects, backbone, CPU, False)
    assert [outcome.name for outcome in outcomes] == ["dog", "cat", "cup"]
    made = [(outcome.photos, outcome.made, outcome.error) for outcome in outcomes]
    assert made == [(3, 3, None), (2, 2, None), (2, 2, None)]
    assert backbone.loads == 1
    for photos, output in subjects:
        alone = tmp_path / "alone" / output.name
        preparation().run(photos, alone, TinyBackbone(), CPU, False)
        assert contents(output) == contents(alone)


def test_a_second_run_makes_nothing(subjects: list[tuple[Path, Path]]) -> None:
    preparation().run_all(subjects, TinyBackbone(), CPU, False)
    save_photo(subjects[1][0], "new.png", 9)
    again, backbone = preparation(), TinyBackbone()
    outcomes = again.run_all(subjects, backbone, CPU, False)
    assert [outcome.made for outcome in outcomes] == [0, 1, 0]
    assert isinstance(again.segmenter, CentreSegmenter)
    assert isinstance(again.image_encoder, PoolingEncoder)
    assert again.segmenter.seen == ["new.png"]
    assert again.image_encoder.count == 4


def test_a_bad_subject_does_not_stop_the_rest(subjects: list[tuple[Path, Path]]) -> None:
    (subjects[0][0] / "bad.jpg").write_text("no image")
    outcomes = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    assert [outcome.error is None for outcome in outcomes] == [False, True, True]
    assert "'bad.jpg'" in str(outcomes[0].error)
    assert not subjects[0][1].exists()
    (subjects[0][0] / "bad.jpg").unlink()
    outcomes = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    assert [outcome.made for outcome in outcomes] == [3, 0, 0]


def test_a_subject_that_fails_on_the_way(subjects: list[tuple[Path, Path]]) -> None:
    class Failing(CountingInpainter):
        def _inpaint(self, image, mask):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if self.count == 1:
                self.count += 1
                raise UserError("no background is left")
            return super()._inpaint(image, mask)

    parts = Preparation(CentreSegmenter(), Failing(), PoolingEncoder())
    outcomes = parts.run_all(subjects, TinyBackbone(), CPU, False)
    assert [outcome.error is None for outcome in outcomes] == [False, True, True]
    assert str(outcomes[0].error) == "photo '01.png': no background is left"
    assert not (subjects[0][1] / "index.json").exists()


def test_masks_of_one_subject_never_serve_another(
    subjects: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    preparation().run_all(subjects, TinyBackbone(), CPU, False)
    (subjects[0][0] / "03.png").write_bytes((subjects[0][0] / "02.png").read_bytes())
    (subjects[0][0] / "02.png").unlink()
    masks = tmp_path / "masks"
    for _, output in subjects:
        save_masks(PreparedSubject(output), masks)
    by_hand = Preparation(MaskFiles(masks), CountingInpainter(), PoolingEncoder())
    outcomes = by_hand.run_all(subjects, TinyBackbone(), CPU, False)
    dog, cat, cup = (outcome.error for outcome in outcomes)
    assert cup is None
    assert "would share the mask" in str(dog)
    assert str(cat) == str(dog)


def test_the_table_names_subjects_and_reasons(subjects: list[tuple[Path, Path]]) -> None:
    (subjects[0][0] / "bad[0].jpg").write_text("no image")
    first = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    second = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    console = Console(width=300, record=True, file=io.StringIO())
    for outcomes in (first, second):
        console.print(summary_table(outcomes))
    lines = console.export_text().splitlines()
    failed = [line for line in lines if "failed" in line]
    assert len(failed) == 2
    assert all("dog" in line and "bad[0].jpg" in line for line in failed)
    assert len([line for line in lines if "made" in line]) == 2
    assert len([line for line in lines if "up to date" in line]) == 2


def test_outputs_that_are_one_folder_are_refused(subjects: list[tuple[Path, Path]]) -> None:
    dog, cat, _ = (output for _, output in subjects)
    dog.mkdir(parents=True)
    cat.symlink_to(dog, target_is_directory=True)
    outcomes = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    errors = [outcome.error for outcome in outcomes]
    assert errors[2] is None
    assert str(errors[0]) == str(errors[1])
    assert str(dog) in str(errors[0])
    assert str(cat) in str(errors[0])
    assert not list(dog.iterdir())
