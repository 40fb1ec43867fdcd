"""Finds where the host would wait for a GPU, on a machine that has none."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda:0")
AWAY = torch.device("meta")
"""As good as a GPU for what mixes it with numbers of the host's; lists go there unseen."""

_GPUS = {"cuda", "meta"}
_pinned: dict[int, Tensor] = {}
_PACKAGE = str(Path(__file__).parents[1] / "idgen")


class HostWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each read of a number that is away, and each copy from or to there that is waited for.

    It sees the operations themselves, whoever calls them. What is copied with `non_blocking` out
    of pinned memory is not waited for.

    Attributes:
        found: The operation of each wait, and the lines of idgen that led to it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        name = function.overloadpacket.__name__
        copies = name in ("_to_copy", "copy_") and not _is_sent_ahead(name, args, options)
        before = _devices((args, options), copies)
        try:
            result = function(*args, **options)
        except Exception:  # it needs to know what the numbers are
            self._note(name)
            raise
        devices = before | _devices(result, copies)
        if "cpu" in devices and devices & _GPUS and (copies or name.startswith("index")):
            self._note(name)
        return result

    def _note(self, name: str) -> None:
        lines = [s for s in traceback.extract_stack() if s.filename.startswith(_PACKAGE)]
        where = (f"{Path(line.filename).name}:{line.lineno}" for line in reversed(lines))
        self.found.append(f"{name}: {' < '.join(where)}")


def _is_sent_ahead(name: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    source = args[1] if name == "copy_" else args[0]
    there = args[0].device if name == "copy_" else options.get("device", source.device)
    pinned = source.device.type != "cpu" or id(source) in _pinned
    asked = options.get("non_blocking") or args[2:]
    return bool(asked) and (pinned or torch.device(there) != CUDA)


def _devices(values: Any, with_numbers: bool) -> set[str]:
    tensors = (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
    # A number of the host's is handed over with the launch, but for copies.
    return {t.device.type for t in tensors if with_numbers or t.ndim or t.device.type != "cpu"}


def put_away(module: nn.Module) -> None:
    """Puts a module on the device of tensors without content, in place."""
    _replace_weights(module, lambda tensor: tensor.to(AWAY))


@contextmanager
def made_up_cuda() -> Iterator[Callable[[Any], Any]]:
    """Tensors of a CUDA device, without content; nothing can go backward through them.

    Yields:
        What puts a module there in place, or gives what tensors in nested tuples would be there.
    """

    def there(tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)

    def put(moved: Any) -> Any:
        if isinstance(moved, nn.Module):
            _replace_weights(moved, there)
            return moved
        return tree_map(lambda v: there(v) if isinstance(v, Tensor) else v, moved)

    def pin(tensor: Tensor) -> Tensor:
        _pinned[id(tensor)] = tensor
        return tensor

    pinned = patch.object(Tensor, "pin_memory", pin)
    with FakeTensorMode(allow_non_fake_inputs=True), pinned, patch.dict(_pinned, clear=True):
        yield put


def _replace_weights(whole: nn.Module, moved: Callable[[Tensor], Tensor]) -> None:
    for module in whole.modules():
        for name, weight in module.named_parameters(recurse=False):
            made = nn.Parameter(moved(weight.detach()), requires_grad=weight.requires_grad)
            module.register_parameter(name, made)
        buffers = dict(module.named_buffers(recurse=False))
        module._buffers.update({name: moved(buffer) for name, buffer in buffers.items()})
