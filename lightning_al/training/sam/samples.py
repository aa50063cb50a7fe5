"""Which samples a training batch holds: their positions in the training data, and some of them as a batch."""

from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler

from lightning_al.inference.division import readings_of_size
from lightning_al.inference.entries import samples_at, whole


def order_of_epoch(trainer: Trainer) -> list[list[int]]:
    """The positions in the training data of the samples of each batch of this epoch, on this rank.

    Known where the order follows from the epoch alone, so that it can be asked for again: in campaigns, on several
    ranks, and without shuffling.

    Raises:
        MisconfigurationException: If it cannot be known.
    """
    loader: Any = trainer.train_dataloader
    batches: Any = getattr(loader, "batch_sampler", None)
    sampler = getattr(loader, "sampler", None)
    is_plain = type(batches) is BatchSampler or isinstance(batches, DistributedSampler)
    if not is_plain or not isinstance(sampler, (DistributedSampler, SequentialSampler)):
        raise MisconfigurationException(
            '`variant="saf"` must know which samples a batch holds, and their order in the train loader '
            f"({type(loader).__name__}, sampler {type(sampler).__name__}) cannot be asked for again. Let the data set "
            "give each sample's index in the batch, and return those from `sample_ids(self, batch, batch_idx)`; or "
            'shuffle with a `DistributedSampler(data, num_replicas=1, rank=0)`; or use `variant="mesa"`.'
        )
    return [list(batch) for batch in batches]


def batches_before(trainer: Trainer) -> int:
    """How many batches of this epoch were trained on before a fit that goes on in its middle; 0 at its beginning.

    Lightning counts batches from there, and begins the loader anew, unless that can be told where it was.
    """
    loop = trainer.fit_loop.epoch_loop
    if not loop.restarting or hasattr(trainer.train_dataloader, "load_state_dict"):
        return 0
    return int(loop.batch_progress.current.ready % trainer.num_training_batches)


def some_of(batch: Any, size: int, rows: Tensor) -> Any:
    """Return the samples at ``rows`` of a batch of ``size`` samples, as a batch.

    Raises:
        MisconfigurationException: If the batch is not of as many samples.

    Example:
        >>> import torch
        >>> some_of({"x": torch.arange(3), "names": ["a", "b", "c"]}, 3, torch.tensor([0, 2]))
        {'x': tensor([0, 2]), 'names': ['a', 'c']}
    """
    readings = readings_of_size(batch, size)
    if not readings:
        raise MisconfigurationException(
            f"A batch cannot be divided into the {size} samples that have losses: each of its tensors must have the "
            'samples first, or a list one entry for each. Use another `variant` than "esam", or return such a batch.'
        )
    return whole(samples_at(readings[0], rows))
