"""Samples that cannot be read, found before any is scored, so that they can be left out."""

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_al.data.readable import Readability, few
from lightning_al.distributed.ranks import gather_objects
from lightning_al.scoring.subject import Subject


def find_unreadable(subject: Subject, indices: Tensor) -> dict[int, str]:
    """Read samples once, on all processes and with the loader's workers, and return those that cannot be read.

    A warning names the first of them.

    Args:
        subject: Whose samples.
        indices: Dataset indices; the same on every rank.

    Returns:
        What is wrong, by dataset index, ascending; the same on every rank.
    """
    if len(indices) == 0:
        return {}
    rank_zero_info(f"Reading {len(indices):,} samples once, to leave out those that cannot be read.")
    block = subject.data.pool_pass(indices, multiple=1).block
    mine = indices[block.start : block.stop]
    loader = subject.data.template.loader(
        Readability(subject.data.pool_set, mine),
        batch_size=subject.data.scoring_batch_size,
        collate_fn=list,
        pin_memory=False,
        persistent_workers=False,
        in_order=True,
    )
    reasons = (reason for batch in loader for reason in batch)
    wrong = {index: reason for index, reason in zip(mine.tolist(), reasons, strict=True) if reason}
    found = {index: reason for of_rank in gather_objects(wrong) for index, reason in of_rank.items()}
    if found:
        names = [f"{index} ({reason})" for index, reason in sorted(found.items())]
        rank_zero_warn(f"{len(found)} of {len(indices):,} samples cannot be read and are left out: {few(names)}.")
    return dict(sorted(found.items()))


def without(indices: Tensor, left_out: dict[int, str]) -> Tensor:
    """Return the indices that are not among those left out.

    Example:
        >>> without(torch.tensor([3, 1, 2]), {1: "OSError: truncated"})
        tensor([3, 2])
    """
    return indices[~torch.isin(indices, torch.tensor(list(left_out), dtype=indices.dtype))]
