"""How many bytes of tensors are alive at most, and a GPU's rules for tensors that are not there."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# As CUDA's allocator rounds.
_PIECE = 512


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations make, from when they are made till they go.

    Attributes:
        now: Bytes alive.
        peak: The most that were alive at a time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def note(self, tensor: Tensor) -> None:
        """Counts a tensor, once for all that share its storage."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = -(-storage.nbytes() // _PIECE) * _PIECE

        def gone(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return result


# What CUDA's autocast calculates in float32, and that of a CPU does not.
_IN_FLOAT32 = {
    *(F.group_norm, F.layer_norm, F.rms_norm, F.interpolate, F.softmax, F.cosine_similarity),
    *(torch.softmax, Tensor.softmax, torch.pow, Tensor.pow, Tensor.__pow__),
    *(torch.exp, Tensor.exp, torch.rsqrt, Tensor.rsqrt, torch.sum, Tensor.sum),
}


class CudaRules(TorchFunctionMode):
    """Has CPU tensors without content calculated as CUDA's would be.

    Without a GPU nothing can go backward through tensors of CUDA. What differs in memory is which
    operations autocast leaves in float32, and that attention keeps no map of every pair.
    """

    def __init__(self, mixed: torch.dtype | None) -> None:
        """Sets what autocast rounds to.

        Args:
            mixed: Half precision; None without autocast.
        """
        super().__init__()
        self._mixed = mixed

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if function is F.scaled_dot_product_attention:
            return self._attention(*args, **options)
        if function in _IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, options = tree_map(_in_float32, (tuple(args), options))
        return function(*args, **options)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if self._mixed is not None and torch.is_autocast_enabled("cpu"):
            query, key, value = (part.to(self._mixed) for part in (query, key, value))
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = (part.repeat_interleave(times, dim=-3) for part in (key, value))
        aten = torch.ops.aten
        result: Tensor
        if attn_mask is None and query.dtype != torch.float32:
            flash = aten._scaled_dot_product_flash_attention
            result = flash(query, key, value, dropout_p, is_causal, False, scale=scale)[0]
        else:
            efficient = aten._scaled_dot_product_efficient_attention
            options = (attn_mask, True, dropout_p, is_causal)
            result = efficient(query, key, value, *options, scale=scale)[0]
        return result


def _in_float32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value
