"""A module of a real layout: built, counted, copied and checked without a weight file."""

import copy
import gc
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion, FusedFeature
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from tests.layouts import save_sd21_layout
from tests.workspace import Workspace

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd21_layout(tmp_path_factory.mktemp("layouts") / "sd21")


@pytest.fixture(scope="module")
def disenbooth(layout: Path) -> PersonalizationModule:
    """DisenBooth as its config has it, at SD 2.1's size."""
    model = yaml.safe_load((CONFIGS / "method" / "disenbooth.yaml").read_text())["model"]
    settings = model["conditioning"]["init_args"]
    fused = FusedFeature(settings.pop("fused"))
    return PersonalizationModule(
        StableDiffusionBackbone(str(layout)),
        LoraTuning(rank=4, **model["tuning"]["init_args"]),
        partial(DecoupledFusion, fused=fused, **settings),
    )


def test_it_counts_what_disenbooth_reports(disenbooth: PersonalizationModule) -> None:
    """829,952 weights of LoRA and 2,100,224 of the adapter (Chen et al. 2024)."""
    counts = dict.fromkeys(("backbone", "conditioning"), 0)
    for name, shape in disenbooth.trained_shapes.items():
        counts[name.split(".")[0]] += shape.numel()
    assert counts == {"backbone": 829_952, "conditioning": 2_100_224}


def test_it_holds_no_weight(disenbooth: PersonalizationModule) -> None:
    _ = disenbooth.trained_shapes
    gc.collect()
    assert not list(disenbooth.parameters())
    assert all(parameter.is_meta for parameter in disenbooth.conditioning.parameters())
    disenbooth.cpu()  # as Lightning does where a run is refused before the weights are there


def test_it_is_copied(disenbooth: PersonalizationModule) -> None:
    other = copy.deepcopy(disenbooth)
    assert other.backbone is not disenbooth.backbone
    assert other.trained_shapes == disenbooth.trained_shapes


def test_work_without_weights_is_refused_by_their_name(disenbooth: PersonalizationModule) -> None:
    missing = r"diffusion_pytorch_model\.safetensors are missing"
    with pytest.raises(UserError, match=missing):
        disenbooth.check(fit=True)
    with pytest.raises(UserError, match=missing):
        copy.deepcopy(disenbooth).configure_model()


def test_a_target_that_fits_no_layer_is_refused_before_weights(layout: Path) -> None:
    backbone = StableDiffusionBackbone(str(layout))
    module = PersonalizationModule(backbone, LoraTuning(targets=["to_qq"]), DecoupledFusion)
    with pytest.raises(UserError, match=r"LoraTuning\.targets: no layer .* ends in 'to_qq'"):
        module.check(fit=True)


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "named"),
    [
        (partial(torch.optim.AdamW, lr=-1.0), None, "optimizer"),
        (
            torch.optim.AdamW,
            partial(torch.optim.lr_scheduler.StepLR, step_size="two"),  # type: ignore[arg-type]
            "scheduler",
        ),
    ],
)
def test_values_of_the_optimizer_are_refused_before_weights(
    layout: Path, optimizer: object, scheduler: object, named: str
) -> None:
    module = PersonalizationModule(
        StableDiffusionBackbone(str(layout)),
        LoraTuning(),
        DecoupledFusion,
        optimizer=optimizer,  # type: ignore[arg-type]
        scheduler=scheduler,  # type: ignore[arg-type]
    )
    with pytest.raises(UserError, match=f"^{named}: "):
        module.check(fit=True)


def test_a_fit_without_weights_is_refused_in_one_line(
    layout: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--model.backbone.init_args.source={layout}"]
    width = "--model.conditioning.init_args.image_width=32"
    assert workspace.fit(*options, width) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "unet/diffusion_pytorch_model.safetensors are missing" in line
    assert not workspace.run.exists()
    assert not (workspace.folder / "prepared").exists()
