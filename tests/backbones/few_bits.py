"""bitsandbytes on a CPU, which can do what idgen asks of it; diffusers and idgen ask for a GPU."""

import pytest
import torch


def allow_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips a test where bitsandbytes is not installed, and lets it run on a CPU where it is."""
    layers = pytest.importorskip("bitsandbytes.nn.modules")
    from diffusers.quantizers.bitsandbytes import bnb_quantizer as of_diffusers
    from transformers.quantizers import quantizer_bnb_4bit, quantizer_bnb_8bit

    if torch.cuda.is_available():
        return
    kinds = (
        of_diffusers.BnB4BitDiffusersQuantizer,
        of_diffusers.BnB8BitDiffusersQuantizer,
        quantizer_bnb_4bit.Bnb4BitHfQuantizer,
        quantizer_bnb_8bit.Bnb8BitHfQuantizer,
    )
    for kind in kinds:
        monkeypatch.setattr(kind, "validate_environment", lambda self, *a, **k: None)
        monkeypatch.setattr(kind, "update_device_map", lambda self, device_map: {"": "cpu"})
    monkeypatch.setattr("idgen.backbones.pipeline.check_quantization", lambda kind, parameter: None)
    # Else layers that drew are laid out anew, and no gradient goes through them afterwards.
    monkeypatch.setattr(layers, "has_avx512bf16", lambda: False)
