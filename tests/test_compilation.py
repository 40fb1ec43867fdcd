"""Whether the denoiser is compiled: what decides, what is refused, and what is compiled."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from idgen import compilation
from idgen.compilation import Compilation, CompilationPlan
from idgen.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that can compile, for any device."""
    monkeypatch.setattr(compilation, "_failure", lambda backend, device: None)


def broken(backend: str, device: torch.device) -> str:
    return "no g++"


def test_nothing_is_compiled_or_said_unless_asked_for() -> None:
    plan = Compilation().plan(GPU, 10**6)
    assert not plan.compiles
    assert plan.says is None


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize(
    ("device", "steps", "compiles", "whole", "said"),
    [
        (CPU, 10**6, False, False, "on the cpu it seldom pays back"),
        (GPU, None, False, False, "set trainer.max_steps"),
        (GPU, 100, False, False, "100 steps are below"),
        (GPU, 500, True, False, "the denoiser's repeated blocks are compiled.*500 steps are"),
        (GPU, 3000, True, True, "the denoiser is compiled.*3000 steps are enough"),
    ],
)
def test_auto_goes_by_device_and_steps(
    device: torch.device, steps: int | None, compiles: bool, whole: bool, said: str
) -> None:
    plan = Compilation("auto").plan(device, steps)
    assert (plan.compiles, plan.whole) == (compiles, whole)
    assert plan.says is not None
    assert "\n" not in plan.says
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(plan.says)


@pytest.mark.usefixtures("works")
def test_what_was_said_wins() -> None:
    assert Compilation("always").plan(CPU, 5).compiles
    assert Compilation("always", whole=True).plan(CPU, 5).whole
    assert not Compilation("auto", whole=False).plan(GPU, 10**6).whole


def test_where_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_failure", broken)
    plan = Compilation("auto").plan(GPU, 10**6)
    assert not plan.compiles
    assert "no g++" in str(plan.says)
    with pytest.raises(UserError, match=r"--compile.when: .*no g\+\+.* never"):
        Compilation("always").plan(CPU, 5)


def test_what_is_split_between_processes_is_not_compiled() -> None:
    plan = Compilation("auto").plan(GPU, 10**6, split=True)
    assert not plan.compiles
    assert "its weights are split" in (plan.says or "")
    Compilation("auto").check(GPU, 1, split=True)
    with pytest.raises(UserError, match=r"^--compile\.when: .*split between processes"):
        Compilation("always").check(GPU, 1, split=True)


def test_that_it_cannot_is_found_out_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compilation._failure("aot_eager", CPU) is None

    def refuse(function: Callable[..., Any], backend: str) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(torch, "compile", refuse)
    assert compilation._failure("inductor", CPU) == "first"


def test_graphs_need_a_cuda_gpu_and_steps_of_one_batch() -> None:
    graphs = Compilation("always", "reduce-overhead")
    graphs.check(GPU, 1)
    with pytest.raises(UserError, match=r"--compile.mode: .* needs a CUDA GPU.*the cpu"):
        graphs.check(CPU, 1)
    with pytest.raises(UserError, match=r"--compile.mode: .*accumulate_grad_batches is 4"):
        graphs.check(GPU, 4)
    Compilation("auto", "reduce-overhead").check(CPU, 1)
    Compilation("always").check(CPU, 4)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'nothing' is none of torch's: .*inductor"):
        Compilation("always", backend="nothing")


class _Blocks(nn.Module):
    """A denoiser that knows its repeated blocks, as diffusers' do."""

    _repeated_blocks = ("Linear",)

    def __init__(self) -> None:
        super().__init__()
        self.compiled: list[dict[str, Any]] = []

    def compile_repeated_blocks(self, **options: Any) -> None:
        self.compiled.append(options)


def test_blocks_alone_are_compiled_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"backend": "aot_eager", "dynamic": False}
    whole: list[tuple[nn.Module, dict[str, Any]]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **given: whole.append((module, given)))
    blocks, plain = _Blocks(), nn.Linear(2, 2)
    for denoiser in (blocks, plain):
        CompilationPlan(True, False, "default", "aot_eager", None).apply(denoiser)
    assert blocks.compiled == [options]
    assert whole == [(plain, options)]
    CompilationPlan(True, True, "reduce-overhead", "inductor", None).apply(blocks)
    graphs = {"backend": "inductor", "dynamic": False, "mode": "reduce-overhead"}
    assert whole[1:] == [(blocks, graphs)]
    CompilationPlan(False, True, "default", "inductor", None).apply(plain)
    assert len(whole) == 2
