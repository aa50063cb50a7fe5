"""The check that what is made of a sample does not depend on what else is in its batch."""

from dataclasses import replace

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.data import default_collate

from lightning_al.acquisition.base import Acquisition
from lightning_al.data.readable import one_by_one, readable
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.inference.precision import FULL
from lightning_al.scoring.pool_pass import WAY_OUT, rows_of
from lightning_al.scoring.subject import Subject
from lightning_al.stages import CHECKING, stage

SAMPLES = 8
"""How many are looked at, on each process."""

TOLERANCE = 3e-3
"""Share of the largest value by which a sample's may differ: far above what rounding does."""


@stage(CHECKING)
def check_company(subject: Subject, acquisition: Acquisition, *, seed: int, indices: Tensor | None = None) -> None:
    """Refuse an acquisition whose features or scores of a sample are others alone than in a batch, by its padding.

    A few samples are scored in batches as the pool is, and one at a time. What differs from pass to pass anyway, since
    samples are augmented or the model draws, is not looked at. Where it is the model's own outputs that differ, which
    nobody but the model can mend, one line says so; this is looked at where the user's collate function may pad.

    Args:
        subject: What is scored, and by which Trainer.
        acquisition: Bound to its task.
        seed: Of what is drawn.
        indices: The samples that may be looked at. Default: all.

    Raises:
        ValueError: With what to do; on every rank.
    """
    takes_features = acquisition.requires & {"features", "encoder"} or acquisition.selection == "badge"
    looks_inside = bool(takes_features or acquisition.looks_inside)
    pads = subject.data.template.collate_fn is not default_collate and acquisition.sees_samples
    if not (looks_inside or pads) or subject.data.scoring_batch_size == 1:
        return
    smallest = 1 if looks_inside else 2  # a model may take a single sample for something else
    indices = torch.arange(len(subject.data.pool_set)) if indices is None else indices  # type: ignore[arg-type]
    ranks = Ranks(subject.trainer.strategy)
    exact = replace(subject, pool_precision=FULL)  # half precision rounds as much as padding may bring
    count = min(len(indices), SAMPLES * max(subject.trainer.world_size, 1))
    order = indices[torch.randperm(len(indices), generator=generator(seed, "company"))]
    some = torch.tensor(readable(subject.data.pool_set, one_by_one(order), count), dtype=torch.long)

    def rows(seed: int, batch_size: int | None = None) -> dict[str, Tensor]:
        return rows_of(exact, acquisition, some, seed=seed, gather=True, batch_size=batch_size)

    first, second = derive_seed(seed, 0, "score"), derive_seed(seed, "company")
    together, alone = rows(first), rows(first, batch_size=smallest)
    worst = ranks.first(lambda: largest_difference(together, alone))
    if worst is None:
        return
    again = rows(second)
    if ranks.first(lambda: largest_difference(together, again)) is not None:
        return
    if not looks_inside:
        rank_zero_warn(
            f"What the model gives of a sample depends on what else is in its batch: scores of {count} samples in "
            f"batches of 2 and of {subject.data.scoring_batch_size} differ by up to {worst:.1%} of the largest, and so "
            "will picks. It may average over padding: leave that out in its `forward`, or keep `pool_batch_size=1`."
        )
    else:
        raise ValueError(
            f"What `{type(acquisition).__name__}` works with depends on what else is in a sample's batch: {count} "
            f"samples have values one at a time that differ from those in batches of {subject.data.scoring_batch_size} "
            f"by up to {worst:.1%} of the largest. {WAY_OUT}"
        )


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float | None:
    """Return by what share of the largest value the rows differ, None where by next to nothing."""
    shares = [0.0]
    for key, values in one.items():
        if values.is_floating_point():
            if values.shape != other[key].shape:
                return 1.0
            a, b = values.double(), other[key].double()
            shares.append(float((a - b).abs().max() / a.abs().max().clamp(min=torch.finfo(values.dtype).tiny)))
    return max(shares) if max(shares) > TOLERANCE else None
