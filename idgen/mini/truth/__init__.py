"""True scores of drawings of a mini subject, whose looks, scenes and poses are known.

They belong to what scores, above the rest of `idgen.mini`, which knows of no score. `mini_truth`
says which scores there are; `yardsticks` embeds what they hold drawings against, once, and `stored`
keeps it on the disk; `quality` compares sets of pictures, `parts` tells what a prompt asked for.
"""

from idgen.mini.truth.mini_truth import TRUE_MASKS, MiniTruth
from idgen.mini.truth.yardsticks import Shown, Yardsticks

__all__ = ["TRUE_MASKS", "MiniTruth", "Shown", "Yardsticks"]
