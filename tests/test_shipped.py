"""The shipped configs, from a folder that has none."""

import re
from pathlib import Path

import pytest
import yaml

import idgen
from idgen.cli import COMMANDS, main
from idgen.shipped import config_file, shipped_configs, with_shipped_configs


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["base.yaml", "configs/base.yaml", "./configs/base.yaml"])
def test_a_shipped_config_is_found_by_name(name: str, empty: Path) -> None:
    assert Path(config_file(name)) == shipped_configs() / "base.yaml"


def test_ones_own_file_wins(empty: Path) -> None:
    (empty / "base.yaml").touch()
    assert config_file("base.yaml") == "base.yaml"
    (empty / "configs").mkdir()
    (empty / "configs" / "base.yaml").touch()
    assert config_file("configs/base.yaml") == "configs/base.yaml"


@pytest.mark.parametrize("name", ["nowhere.yaml", "configs", "/base.yaml", "../configs/base.yaml"])
def test_other_names_are_left_alone(name: str, empty: Path) -> None:
    assert config_file(name) == name


def test_configs_alone_are_looked_up(empty: Path) -> None:
    base, lora = shipped_configs() / "base.yaml", shipped_configs() / "method" / "lora.yaml"
    given = ["--config", "base.yaml", "--config=method/lora.yaml", "--out", "base.yaml", "--config"]
    expected = ["--config", str(base), f"--config={lora}", "--out", "base.yaml", "--config"]
    assert with_shipped_configs(given) == expected


def test_fit_takes_shipped_configs_anywhere(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "base.yaml", "--config=method/lora.yaml", "--print_config"])
    assert not ended.value.code
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["default_root_dir"] == "runs/lora"
    assert config["model"]["backbone"]["init_args"]["source"] == "mini"


def test_init_takes_no_blank_folder(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", " "]) == 2
    assert "DIR is blank" in capsys.readouterr().err
    assert list(empty.iterdir()) == []


def test_init_lays_all_of_them_out(empty: Path) -> None:
    assert main(["init", "here"]) == 0
    laid_out, shipped = empty / "here" / "configs", shipped_configs()
    names = {path.relative_to(shipped) for path in shipped.rglob("*.yaml")}
    assert Path("base.yaml") in names
    assert {path.relative_to(laid_out) for path in laid_out.rglob("*") if path.is_file()} == names
    assert all((laid_out / n).read_bytes() == (shipped / n).read_bytes() for n in names)
    assert {path.name for path in (empty / "here").iterdir()} == {"configs", "photos", "README.md"}
    assert list((empty / "here" / "photos").iterdir()) == []
    readme = (empty / "here" / "README.md").read_text()
    assert len(readme.splitlines()) == 5
    # What it tells the reader to use is there.
    named = set(re.findall(r"configs/[\w/]+\.yaml", readme))
    assert named
    assert all((empty / "here" / name).is_file() for name in named)
    assert set(re.findall(r"`idgen (\w+)", readme)) <= COMMANDS.keys()


def test_init_leaves_a_readme_and_photos_that_are_there(empty: Path) -> None:
    (empty / "photos").mkdir()
    (empty / "photos" / "0.png").write_bytes(b"mine")
    (empty / "README.md").write_text("mine")
    assert main(["init", "."]) == 0
    assert (empty / "README.md").read_text() == "mine"
    assert (empty / "photos" / "0.png").read_bytes() == b"mine"


def test_init_overwrites_nothing(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "configs").mkdir()
    (empty / "configs" / "base.yaml").write_text("mine")
    assert main(["init", "."]) == 2
    assert "configs is there already" in capsys.readouterr().err
    assert [path.name for path in (empty / "configs").iterdir()] == ["base.yaml"]
    assert (empty / "configs" / "base.yaml").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["a", "b"], ["--force", "a"]])
def test_init_without_one_folder_is_refused(
    options: list[str], empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(empty.iterdir())


def test_the_model_card_states_the_licence_of_the_weights() -> None:
    card = Path(idgen.__file__).parent / "mini" / "weights" / "MODEL_CARD.md"
    (licence,) = (line for line in card.read_text().splitlines() if line.startswith("Licence: "))
    assert "Apache-2.0" in licence
