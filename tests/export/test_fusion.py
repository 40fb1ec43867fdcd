"""The standalone fusion against idgen's own, and as ComfyUI would call it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from idgen.backbones.text import TextStates
from idgen.export.standalone import idgen_fusion
from idgen.export.standalone.idgen_fusion import Fusion, load_fusion
from idgen.models.fusion import ExpertFusion, Routing

WIDTH = 8


def moved(routing: Routing, low_rank: int | None) -> ExpertFusion:
    torch.manual_seed(0)
    module = ExpertFusion(WIDTH, experts=3, routing=routing, low_rank=low_rank)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    return module


@pytest.mark.parametrize("low_rank", [None, 2])
@pytest.mark.parametrize("routing", list(Routing))
def test_it_fuses_as_idgen_does(routing: Routing, low_rank: int | None) -> None:
    module, states = moved(routing, low_rank), torch.randn(2, 5, WIDTH)
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    ours = module(TextStates(states, mask)).refined
    theirs = Fusion(dict(module.state_dict()), by_picture=routing is Routing.picture)(states, 3)
    torch.testing.assert_close(theirs, ours)
    assert (theirs - states).abs().max() > 0.1


def test_it_keeps_the_type_and_refuses_other_widths() -> None:
    by_token = Fusion(dict(moved(Routing.token, None).state_dict()), by_picture=False)
    assert by_token(torch.randn(1, 5, WIDTH).half()).dtype == torch.float16
    with pytest.raises(ValueError, match=f"width {WIDTH}, not 7"):
        by_token(torch.randn(1, 5, 7))
    by_picture = Fusion(dict(moved(Routing.picture, None).state_dict()), by_picture=True)
    with pytest.raises(ValueError, match="give real_tokens"):
        by_picture(torch.randn(1, 5, WIDTH))


COMFY = """
import importlib.util, sys, torch

# As ComfyUI loads a file of custom_nodes, and what its text encode node hands on.
spec = importlib.util.spec_from_file_location("idgen_fusion", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
node = module.NODE_CLASS_MAPPINGS["IdgenFusion"]
assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(module.NODE_CLASS_MAPPINGS)
assert node.RETURN_TYPES == ("CONDITIONING",)
assert node.INPUT_TYPES()["required"]["conditioning"] == ("CONDITIONING",)
states, pooled = torch.load(sys.argv[2], weights_only=True), torch.ones(1, 3)
given = [[states, {"pooled_output": pooled}], [states * 2, {"strength": 0.5}]]
(fused,) = getattr(node(), node.FUNCTION)(conditioning=given, file="fusion.safetensors")
assert [set(rest) for _, rest in fused] == [{"pooled_output"}, {"strength"}]
assert torch.equal(given[0][0], states), "what came in is as it was"
torch.save([entry for entry, _ in fused], sys.argv[3])
print(sorted(name for name in sys.modules if name.split(".")[0] in ("idgen", "diffusers")))
"""


def test_comfyui_loads_it_without_idgen(tmp_path: Path) -> None:
    module, states = moved(Routing.token, None), torch.randn(1, 77, WIDTH)
    save_file(dict(module.state_dict()), tmp_path / "fusion.safetensors", {"routing": "token"})
    source = Path(idgen_fusion.__file__)
    (tmp_path / "idgen_fusion.py").write_bytes(source.read_bytes())
    torch.save(states, tmp_path / "states.pt")
    files = [str(tmp_path / name) for name in ("idgen_fusion.py", "states.pt", "fused.pt")]
    printed = subprocess.run(
        [sys.executable, "-c", COMFY, *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert printed.stdout.strip() == "[]", printed.stderr
    mask = torch.ones(1, 77, dtype=torch.bool)
    for fused, given in zip(torch.load(tmp_path / "fused.pt"), (states, states * 2), strict=True):
        torch.testing.assert_close(fused, module(TextStates(given, mask)).refined)
    assert not load_fusion(tmp_path / "fusion.safetensors").by_picture
