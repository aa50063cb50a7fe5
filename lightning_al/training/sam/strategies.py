"""What SAM needs of a strategy: gradients between two passes, and gradients that one rank keeps to itself."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, ParallelStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from lightning_al.training.sam.options import SAMOptions


def check_strategy(strategy: Strategy, options: SAMOptions) -> None:
    """Refuse a strategy that SAM cannot train with, before anything trains.

    Raises:
        MisconfigurationException: With what to use instead.
    """
    name = type(strategy).__name__
    if isinstance(strategy, FSDPStrategy) or strategy.handles_gradient_accumulation:
        raise MisconfigurationException(
            f"SAM needs the gradients of the parameters between two backward passes, which {name} keeps to itself."
            " Use ModelParallelStrategy (FSDP2) or DDPStrategy."
        )
    if options.variant in ("esam", "mesa") and isinstance(strategy, ModelParallelStrategy):
        raise MisconfigurationException(
            f'`variant="{options.variant}"` runs a part of a step twice, which has not been made to work with the '
            f'weights in pieces that {name} keeps. Use DDPStrategy, or "sam", "gsam" or "looksam".'
        )
    if (
        options.ascent == "per_rank"
        and isinstance(strategy, ParallelStrategy)
        and not isinstance(strategy, DDPStrategy)
    ):
        raise MisconfigurationException(
            f'`ascent="per_rank"` needs gradients that are not yet averaged, which only DDPStrategy has, not {name}.'
            ' Use `ascent="global"`.'
        )


@contextmanager
def unsynced(strategy: Strategy, *, block: bool) -> Iterator[None]:
    """Keep this rank's gradient to itself if ``block``."""
    model = strategy.model
    if block and isinstance(model, DistributedDataParallel) and model.static_graph:
        raise MisconfigurationException(
            "DDPStrategy(static_graph=True) averages gradients in every backward pass, so it allows neither"
            ' `ascent="per_rank"` nor accumulation with SAM. Leave `static_graph` out.'
        )
    with strategy.block_backward_sync() if block and isinstance(strategy, ParallelStrategy) else nullcontext():
        yield
