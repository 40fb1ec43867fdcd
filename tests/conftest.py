"""Fixtures that several test modules share."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# More threads than free cores make such small models slower, not faster: tests and the processes
# that they start have one each. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Whatever models the user has must not change a result.
os.environ.setdefault("HF_HOME", str(Path(tempfile.gettempdir()) / "idgen-tests-no-models"))
os.environ.setdefault("REMBG_HOME", os.environ["HF_HOME"])
# Not the user's own; what it remembers of unchanged files holds from run to run.
os.environ.setdefault("IDGEN_CACHE", str(Path(tempfile.gettempdir()) / "idgen-tests-cache"))

import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.export.verification import StandaloneDrawer
from tests.tiny import save_open_clip, save_pipeline
from tests.workspace import TinyModels, Workspace, make_workspace

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Spares the collector what was imported, which every `gc.collect` would look through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epsilon-predicting pipeline folder with random weights."""
    return save_pipeline(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(scope="session")
def tiny_v_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v-predicting pipeline folder with random weights."""
    return save_pipeline(tmp_path_factory.mktemp("tiny") / "pipeline", "v_prediction", seed=1)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder with random weights, as wide as the tiny pipelines' text encoder."""
    return save_open_clip(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture
def backbone(tiny_pipeline: Path) -> StableDiffusionBackbone:
    """The tiny backbone, loaded."""
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    backbone.load()
    return backbone


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Random models that fit together."""
    return TinyModels.save(tmp_path_factory.mktemp("models"))


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    """A subject with a config of a few steps."""
    return make_workspace(tmp_path, tiny_models)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """A workspace whose run has been trained; not to be changed."""
    workspace = make_workspace(tmp_path_factory.mktemp("trained"), tiny_models)
    assert workspace.fit() == 0
    return workspace


@pytest.fixture(scope="session")
def drawer() -> Iterator[StandaloneDrawer]:
    """One process for all drawings without idgen: its imports take longer than they do."""
    with StandaloneDrawer() as made:
        yield made
