"""Training with the frozen denoiser split between processes: a strategy of Lightning's."""

from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from idgen.backbones.backbone import Backbone
from idgen.backbones.splitting import check_split, split
from idgen.errors import UserError
from idgen.trained_module import TrainedModule

FROZEN_SHARDED = "frozen_sharded"
"""The strategy's name in configs."""


class FrozenShardedStrategy(DDPStrategy):
    """DDP for what is trained, and a denoiser whose frozen weights are split between processes.

    What is trained stays whole in each process, and so do checkpoints. It takes what `DDPStrategy`
    takes.
    """

    def setup(self, trainer: L.Trainer) -> None:
        """Does what DDP does, after the weights are split."""
        for loop in (trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
            # Memory that is taken for weights in inference mode could not be trained through later;
            # a fit's own validation has none.
            loop.inference_mode = False
        super().setup(trainer)

    def model_to_device(self) -> None:
        """Splits before anything is moved: no device has to hold the whole denoiser."""
        module = self.lightning_module
        assert isinstance(module, TrainedModule)
        if not module.backbone.is_split:
            split(module.backbone, init_device_mesh(self.root_device.type, (self.world_size,)))
        parts = [name for name, p in module.named_parameters() if isinstance(p, DTensor)]
        # Each process has its own: nothing is to be copied over from the first.
        ddp: Any = DistributedDataParallel
        ddp._set_params_and_buffers_to_ignore_for_model(module, parts)
        super().model_to_device()

    def teardown(self) -> None:
        """Leaves weights where they are: a part of one is of no use on another device."""
        self.model = self.lightning_module
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


StrategyRegistry.register(
    FROZEN_SHARDED,
    FrozenShardedStrategy,
    description="Splits the denoiser's frozen weights between processes",
    override=True,
)


def is_sharded(strategy: Any) -> bool:
    """Whether a trainer's strategy, built or by its name, splits the frozen denoiser."""
    if isinstance(strategy, str):
        return strategy.lower() == FROZEN_SHARDED  # Lightning takes names in any case
    return isinstance(strategy, FrozenShardedStrategy)


def check_sharding(trainer: L.Trainer, callbacks: Iterable[L.Callback], backbone: Backbone) -> None:
    """Refuses what does not go with a split denoiser; before any work.

    Args:
        trainer: The run's.
        callbacks: The run's.
        backbone: Light or loaded.

    Raises:
        UserError: If there is one process, a copy of the model is to be kept, or the backbone
            cannot be split.
    """
    if not is_sharded(trainer.strategy):
        return
    if trainer.world_size == 1:
        raise UserError(
            f"--trainer.strategy: {FROZEN_SHARDED} splits the frozen weights between processes, "
            "and there is one; leave it out, or set --trainer.devices to their number"
        )
    for callback in callbacks:
        if isinstance(callback, WeightAveraging):
            raise UserError(
                f"--trainer.callbacks: {type(callback).__name__} keeps a whole copy of the model, "
                f"which --trainer.strategy {FROZEN_SHARDED} splits; leave it out, or take ddp"
            )
    check_split(backbone)
