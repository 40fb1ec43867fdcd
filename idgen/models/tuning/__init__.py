"""What is trained inside the backbone."""

from idgen.models.tuning.combined import CombinedTuning
from idgen.models.tuning.layers import LayerTuning
from idgen.models.tuning.lora import ATTENTION, TEXT_ATTENTION, LoraTuning
from idgen.models.tuning.token import TokenTuning
from idgen.models.tuning.tuning import Tuning

__all__ = [
    "ATTENTION",
    "TEXT_ATTENTION",
    "CombinedTuning",
    "LayerTuning",
    "LoraTuning",
    "TokenTuning",
    "Tuning",
]
