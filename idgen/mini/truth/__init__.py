"""True scores of drawings of a mini subject, whose looks, scenes and poses are known.

They belong to what scores, above the rest of `idgen.mini`, which knows of no score. `mini_truth`
says which scores there are; `yardsticks` embeds what they hold drawings against, once, and `stored`
keeps it on the disk; `quality` compares sets of pictures, `parts` tells what a prompt asked for.
`pair_truth` and `pair_judge` are of drawings of two subjects.
"""

from idgen.mini.truth.mini_truth import TRUE_MASKS, MiniTruth
from idgen.mini.truth.pair_judge import PAIR_SCORES
from idgen.mini.truth.pair_truth import PairTruth
from idgen.mini.truth.yardsticks import Shown, Yardsticks

__all__ = ["PAIR_SCORES", "TRUE_MASKS", "MiniTruth", "PairTruth", "Shown", "Yardsticks"]
