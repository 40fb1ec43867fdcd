"""From a config to cells, without running any."""

import functools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.benchmark.cell import DONE, FAILED, RECORD, Cell, write_json
from idgen.benchmark.config import DreamBench
from idgen.benchmark.plan import Plan, make_plan, without_places
from idgen.benchmark.results import read_result
from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.metrics.encoders import ClipScorer
from idgen.module import PersonalizationModule
from idgen.runs.freezing import ConfigReader
from tests.benchmark.settings import ONE, TWO, config_of
from tests.loading import nothing_loaded
from tests.workspace import TinyModels, Workspace, make_workspace


def finish(cell: Cell) -> None:
    """Leaves what a finished cell leaves, but for its drawings."""
    for step in cell.steps:
        step.result.parent.mkdir(parents=True, exist_ok=True)
        step.result.write_text("{}")
    write_json(cell.folder / RECORD, cell.record)
    write_json(cell.folder / DONE, {"key": cell.key})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """A subject; each test has a benchmark's folder of its own."""
    return make_workspace(tmp_path_factory.mktemp("planned"), tiny_models)


@pytest.fixture(scope="module")
def finished(workspace: Workspace) -> Plan:
    """A plan whose cells count as finished; not to be changed."""
    output = workspace.folder / "finished"
    plan = make_plan(config_of(workspace, methods=TWO, output=str(output)))
    for planned in plan.cells:
        finish(planned.cell)
    return plan


def again(workspace: Workspace, finished: Plan, **changed: Any) -> Plan:
    """The same benchmark, changed, in the same folder; of one method where none is named."""
    kept = {"methods": ONE, "output": str(finished.folder), **changed}
    return make_plan(config_of(workspace, **kept))


def test_parts_are_built_once_and_nothing_is_loaded(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[type] = []
    for kind in (PersonalizationModule, SubjectDataModule, StableDiffusionBackbone, ClipScorer):

        def note(self: Any, *given: Any, _real: Any = kind.__init__, **named: Any) -> None:
            built.append(type(self))
            _real(self, *given, **named)

        monkeypatch.setattr(kind, "__init__", functools.wraps(kind.__init__)(note))
    with nothing_loaded():
        make_plan(config_of(workspace, methods=TWO, output=str(tmp_path)))
    assert set(Counter(built).values()) == {len(TWO)}
    assert len(set(built)) == 4


def test_a_method_with_nothing_left_to_run_need_not_be_able_to(
    workspace: Workspace, finished: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PersonalizationModule, fit: bool) -> None:
        raise UserError("cannot be run")

    monkeypatch.setattr(PersonalizationModule, "check", refuse)
    assert all(planned.cell.is_done() for planned in again(workspace, finished).cells)
    with pytest.raises(UserError, match="method 'ours': cannot be run"):
        again(workspace, finished, seeds=[0, 1])


def test_every_method_subject_and_seed_is_a_cell(workspace: Workspace, tmp_path: Path) -> None:
    settings = {"data.preparation.segmenter": "idgen.prepare.GrabCutSegmenter"}
    given = {"subjects": ["mini:3", "mini:robot"], "seeds": [0, 5], "settings": settings}
    plan = make_plan(config_of(workspace, output=str(tmp_path), methods=TWO, **given))
    assert len(plan.cells) == 2 * 2 * 2
    assert len({planned.cell.folder for planned in plan.cells}) == 8
    assert len({planned.cell.key for planned in plan.cells}) == 8
    assert [subject.name for subject in plan.subjects][1] == "robot"
    # The photos of a numbered subject are drawn, and count as what they show.
    assert len(list(plan.subjects[0].photos.glob("*.png"))) == 5
    assert sum(planned.subject.number == 3 for planned in plan.cells) == 4


def test_a_cell_has_its_whole_config_frozen(workspace: Workspace, tmp_path: Path) -> None:
    plan = make_plan(config_of(workspace, seeds=[7], output=str(tmp_path)))
    by_method = {planned.method: planned for planned in plan.cells}
    [text] = by_method["plain LoRA"].cell.files.values()
    frozen = yaml.safe_load(text)
    assert frozen["seed_everything"] == 7
    assert frozen["data"]["drawing_seed"] == 7
    assert frozen["trainer"]["max_steps"] == 2
    assert frozen["trainer"]["limit_val_batches"] == 0
    assert frozen["model"]["conditioning"]["class_path"].endswith("TextOnly")
    assert frozen["model"]["optimizer"]["init_args"]["lr"] == 1e-2
    assert frozen["data"]["test_images"] == 1
    steps = {name: [s.name for s in planned.cell.steps] for name, planned in by_method.items()}
    assert steps == {"ours": ["fit", "test"], "plain LoRA": ["fit", "test"], "untrained": ["test"]}
    assert not any("ckpt" in word for word in by_method["untrained"].cell.steps[0].command)
    # A subject is prepared once for all methods.
    [preparation] = plan.preparations()
    assert {planned.preparation.folder for planned in plan.cells} == {preparation.folder}
    prepared = preparation.steps[0].result.parent
    for planned in plan.cells:
        [text] = planned.cell.files.values()
        assert yaml.safe_load(text)["data"]["subject"]["prepared"] == str(prepared)


def test_a_runs_own_folder_for_checkpoints_is_not_that_of_its_cells(
    workspace: Workspace, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"checkpoint": {"dirpath": str(tmp_path / "elsewhere")}}))
    configs = [str(workspace.config), str(own)]
    plan = make_plan(config_of(workspace, methods=ONE, configs=configs, output=str(tmp_path)))
    [text] = plan.cells[0].cell.files.values()
    assert yaml.safe_load(text)["checkpoint"]["dirpath"] is None


def test_a_methods_own_settings_win(workspace: Workspace, tmp_path: Path) -> None:
    methods = {"ours": {}, "longer": {"settings": {"trainer.max_steps": 9}}}
    plan = make_plan(config_of(workspace, methods=methods, output=str(tmp_path)))
    steps = [yaml.safe_load(*p.cell.files.values())["trainer"]["max_steps"] for p in plan.cells]
    assert steps == [2, 9]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"steps": 3}, "config.trainer.max_steps is 2 there and 3 here"),
        ({"images": 2}, "protocol.images is 1 there and 2 here"),
        ({"prompts": ["a [V] dog"]}, "prompts is"),
        ({"settings": {"model.sampler.init_args.steps": 1}}, "protocol.sampler.steps"),
    ],
)
def test_results_of_another_kind_are_refused_by_field(
    workspace: Workspace, finished: Plan, changed: dict[str, Any], field: str
) -> None:
    kept = {**changed}
    if "settings" in kept:
        kept["settings"] = {**finished.config.settings, **kept["settings"]}
    with pytest.raises(UserError, match=field):
        again(workspace, finished, **kept)


def own_masks(workspace: Workspace, folder: Path, grey: int) -> dict[str, Any]:
    """Settings that take masks of the user's, of a shade."""
    folder.mkdir(exist_ok=True)
    for path in workspace.photos.iterdir():
        with Image.open(path) as photo:
            mask = Image.new("L", photo.size)
        mask.paste(grey, (0, 0, mask.width // 2, mask.height // 2))
        mask.save(folder / f"{path.stem}.png")
    chosen = {"class_path": "idgen.prepare.MaskFiles", "init_args": {"folder": str(folder)}}
    return {"data.preparation.segmenter": chosen}


def test_a_cell_knows_the_masks_that_the_user_made(workspace: Workspace, tmp_path: Path) -> None:
    def plan() -> Plan:
        settings = own_masks(workspace, tmp_path / "masks", grey)
        given = {"methods": ONE, "settings": settings, "output": str(tmp_path / "out")}
        return make_plan(config_of(workspace, **given))

    grey = 255
    before = plan().cells[0]
    assert len(before.cell.record["subject"]["masks"]) == len(list(workspace.photos.iterdir()))
    grey = 200
    after = plan().cells[0]
    assert after.cell.key != before.cell.key
    assert after.preparation.key != before.preparation.key


def test_methods_with_different_masks_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    methods = {
        name: {"settings": own_masks(workspace, tmp_path / name, grey)}
        for name, grey in (("ours", 255), ("theirs", 200))
    }
    with pytest.raises(UserError, match=r"'ours' and 'theirs' cannot be compared: .*other masks"):
        make_plan(config_of(workspace, methods=methods, output=str(tmp_path / "out")))


def test_results_of_another_version_are_refused(workspace: Workspace, finished: Plan) -> None:
    cell = finished.cells[0].cell
    write_json(cell.folder / RECORD, {**cell.record, "idgen_version": "0.0.1"})
    with pytest.raises(UserError, match=r"idgen_version is '0\.0\.1' there"):
        again(workspace, finished)
    write_json(cell.folder / RECORD, cell.record)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"dino": NaN}', "the score dino is nan"),
        ('{"photos": {"dino": Infinity}}', "the score dino is inf"),
        ('{"clip_t": "0.6"}', "the score clip_t is '0.6', no number"),
        ('{"dino": 0.5', "cannot read"),
    ],
)
def test_damaged_scores_are_named_with_their_cell(finished: Plan, content: str, said: str) -> None:
    planned = finished.cells[0]
    metrics = planned.test_folder / "metrics.json"
    metrics.write_text(content)
    with pytest.raises(UserError, match=f"{said}.*delete .* to run it anew") as refused:
        read_result(planned)
    assert str(planned.cell.folder) in str(refused.value)
    metrics.write_text("{}")


@pytest.mark.parametrize("code", ['"abc"', "null", "[1]"])
def test_a_damaged_failure_is_a_failure_still(
    workspace: Workspace, finished: Plan, tmp_path: Path, code: str
) -> None:
    plan = again(workspace, finished, output=str(tmp_path / "none"))
    planned = plan.cells[0]
    planned.cell.folder.mkdir(parents=True)
    text = f'{{"key": "{planned.cell.key}", "reason": "lost", "exit_code": {code}}}'
    (planned.cell.folder / FAILED).write_text(text)
    result = read_result(planned)
    assert (result.status, result.reason, result.exit_code) == ("failed", "lost", 1)


def test_other_photos_are_another_subject(workspace: Workspace, finished: Plan) -> None:
    photo = workspace.photos / "2.png"
    hidden = photo.rename(workspace.folder / "2.png")
    with pytest.raises(UserError, match=r"subject\.photos"):
        again(workspace, finished)
    hidden.rename(photo)


def test_more_methods_and_seeds_may_be_added_and_the_folder_moved(
    workspace: Workspace, finished: Plan
) -> None:
    more = {**TWO, "slow": {"settings": {"model.optimizer.init_args.lr": 0.001}}}
    moved = finished.folder.rename(workspace.folder / "moved")
    plan = again(workspace, finished, methods=more, seeds=[0, 1], output=str(moved))
    done = [(p.method, p.seed) for p in plan.cells if p.cell.is_done()]
    moved.rename(finished.folder)
    assert len(plan.cells) == 6
    assert done == [("ours", 0), ("untrained", 0)]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"model.sampler.init_args.steps": 3}, "sampler"),
        ({"data.preparation.segmenter": "idgen.prepare.GrabCutSegmenter"}, "photo_segmenter"),
        ({"data.test_prompts": ["a [V] dog"]}, "prompts"),
        ({"trainer.limit_test_batches": 1}, "limit"),
    ],
)
def test_methods_that_draw_or_score_differently_cannot_be_compared(
    workspace: Workspace, tmp_path: Path, settings: dict[str, Any], field: str
) -> None:
    methods = {"ours": {}, "more": {"settings": settings}}
    given: dict[str, Any] = {"methods": methods, "prompts": None, "output": str(tmp_path)}
    with pytest.raises(UserError, match=rf"'ours' and 'more' cannot be compared: {field}.* is "):
        make_plan(config_of(workspace, **given))


def test_an_unfinished_cell_is_no_reason_to_refuse(
    workspace: Workspace, finished: Plan, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(finished.folder, copied)
    for path in copied.rglob(DONE):
        path.unlink()
    plan = again(workspace, finished, steps=3, output=str(copied))
    assert not any(planned.cell.is_done() for planned in plan.cells)


def test_dreambench_names_its_subjects_and_their_lists(
    workspace: Workspace, tmp_path: Path
) -> None:
    data = tmp_path / "dreambooth"
    for name in ("dog6", "vase"):
        (data / name).mkdir(parents=True)
        for photo in workspace.photos.iterdir():
            (data / name / photo.name).write_bytes(photo.read_bytes())
    lines = ["Classes", "", "subject_name,class", "dog6,dog", "vase,vase", "clock,clock"]
    lines += ["Object Prompts", "'a {0} {1} on the beach'.format(unique_token, class_token),"]
    lines += ["Live Subject Prompts", "'a {0} {1} in the snow'.format(unique_token, class_token),"]
    (data / "prompts_and_classes.txt").write_text("\n".join(lines))
    given: dict[str, Any] = {
        "output": str(tmp_path / "out"),
        "subjects": [],
        "prompts": None,
        "dreambench": DreamBench(str(data)),
        "methods": TWO,
    }
    plan = make_plan(config_of(workspace, **given))
    assert [(s.name, s.class_noun, s.live) for s in plan.subjects] == [
        ("dog6", "dog", True),
        ("vase", "vase", False),
    ]
    prompts = {planned.subject.name: planned.cell.record["prompts"] for planned in plan.cells}
    assert prompts == {"dog6": ["a [V] dog in the snow"], "vase": ["a [V] vase on the beach"]}


SHORT_SCHEDULE = {
    "class_path": "torch.optim.lr_scheduler.OneCycleLR",
    "init_args": {"max_lr": 0.1, "total_steps": 1},
}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("trainer.devices", 0, r"devices='0'"),
        ("trainer.accelerator", "gpu", "gpu"),
        ("trainer.strategy", "no_such", "no_such"),
        ("trainer.precision", "bf16-true", "take bf16-mixed"),
        ("trainer.val_check_interval", 0, "--trainer.val_check_interval: 0 is not"),
        ("trainer.num_nodes", 2, "trainer.num_nodes: a cell runs on this machine alone"),
        ("trainer.fast_dev_run", True, "trainer.fast_dev_run: it leaves no checkpoint"),
        ("trainer.limit_train_batches", 0, "limit_train_batches: nothing would be trained"),
        ("model.tuning.init_args.rank", 4096, "4096 is more than the layer"),
        ("model.scheduler", SHORT_SCHEDULE, "scheduler: it cannot be stepped 2 times"),
    ],
)
def test_settings_that_every_cell_would_fail_with(
    workspace: Workspace, tmp_path: Path, setting: str, value: object, said: str
) -> None:
    config = config_of(workspace, methods=ONE, settings={setting: value}, output=str(tmp_path))
    with pytest.raises(UserError, match=f"method 'ours': .*{said}"):
        make_plan(config)
    assert not (tmp_path / "cells").exists()


def test_a_subjects_noun_holds_no_placeholder(workspace: Workspace, tmp_path: Path) -> None:
    subjects = [{"photos": str(workspace.photos), "class_noun": "[V] dog"}]
    config = config_of(workspace, subjects=subjects, output=str(tmp_path))
    with pytest.raises(UserError, match=r"class_noun '\[V\] dog': nothing is filled in"):
        make_plan(config)


def test_settings_that_came_later_count_only_where_they_are_used() -> None:
    """Results that were written down before there were buckets stay what they are."""
    reader = ConfigReader()
    frozen = reader.frozen(reader.read(["configs/base.yaml"], {}))
    assert "buckets" in frozen["data"]["preparation"]["init_args"]
    kept = without_places(frozen)
    assert "buckets" not in kept["data"]["preparation"]["init_args"]
    frozen["data"]["preparation"]["init_args"]["buckets"] = {"max_aspect": 2.0, "step": None}
    assert "buckets" in without_places(frozen)["data"]["preparation"]["init_args"]
