"""Every benchmark in configs/ is planned and reported through the real command line."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml

from idgen.cli import main
from tests.tiny import save_pipeline
from tests.workspace import Workspace

CONFIGS = Path(__file__).parents[2] / "configs"
BENCHMARKS = sorted(CONFIGS.glob("benchmark/*.yaml"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_are_planned_and_reported_with_small_models(
    benchmark: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)  # the shipped ones are found from anywhere
    given = workspace.settings()
    # Pictures that are drawn for training have to be as large as photos have to be.
    pipeline = save_pipeline(workspace.folder / f"pipeline-{benchmark.stem}", side=32)
    given["model"]["backbone"]["init_args"]["source"] = str(pipeline)
    data = {"preparation": given["data"]["preparation"]}
    data["preparation"]["segmenter"] = {"class_path": "idgen.prepare.GrabCutSegmenter"}
    small = {"model": {"backbone": given["model"]["backbone"]}, "data": data}
    small |= {"fidelity": given["fidelity"]}
    (workspace.folder / "small.yaml").write_text(yaml.safe_dump(small))
    options = [f'--configs=["configs/base.yaml", "{workspace.folder / "small.yaml"}"]']
    output = workspace.folder / "out"
    if benchmark.stem == "dreambench":
        subject = workspace.folder / "dreambooth" / "dog6"
        shutil.copytree(workspace.photos, subject)
        words = ["dog6,dog", "# live", "a {0} {1} in the snow"]
        (subject.parent / "prompts_and_classes.txt").write_text("\n".join(words))
        options += [f"--dreambench.folder={subject.parent}"]
    config = yaml.safe_load(benchmark.read_text())
    if "regimes" in config:
        # The tiny tokenizer spells their first subjects' nouns, and takes no longer prompts then.
        options += ['--prompts=["a [V] {class_noun} in the snow"]']
    command = ["benchmark", f"--config={benchmark}", f"--output={output}", *options]
    assert main([*command, "--only_report=true"]) == 0
    rows = list(csv.DictReader((output / "results.csv").open()))
    assert {row["method"] for row in rows} == set(config["methods"])
    subjects = max(1, len(config.get("subjects", []))) * max(1, len(config.get("regimes", [])))
    assert len(rows) == len(config["methods"]) * subjects
    assert {row["status"] for row in rows} == {"missing"}
