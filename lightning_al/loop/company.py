"""The check that what is made of a sample does not depend on what else is in its batch."""

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.data.pool import Pool
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.loop.project import Project
from lightning_al.loop.score import WAY_OUT, score

SAMPLES = 8
"""How many are looked at, on each process."""

TOLERANCE = 3e-3
"""Share of the largest value by which a sample's may differ: far above what rounding does."""


def check_company(project: Project, acquisition: Acquisition, *, seed: int) -> None:
    """Refuse an acquisition whose features or scores of a sample are others alone than in a batch, by its padding.

    A few samples are scored in batches as the pool is, and one at a time. What differs from pass to pass anyway, since
    samples are augmented or the model draws, is not looked at.

    Args:
        project: Of the launch.
        acquisition: Bound to its task.
        seed: The campaign's.

    Raises:
        ValueError: With what to do; on every rank.
    """
    takes_features = acquisition.requires & {"features", "encoder"} or acquisition.selection == "badge"
    if not (takes_features or acquisition.looks_inside) or project.data.scoring_batch_size == 1:
        return
    size = len(project.data.samples)
    ranks = Ranks(project.trainer.strategy)
    count = min(size, SAMPLES * max(project.trainer.world_size, 1))
    some = Pool(size).candidates(count, generator=generator(seed, "company"))

    def rows(seed: int, batch_size: int | None = None) -> dict[str, Tensor]:
        return score(project, acquisition, some, seed=seed, gather=True, batch_size=batch_size)

    first, second = derive_seed(seed, 0, "score"), derive_seed(seed, "company")
    together, alone = rows(first), rows(first, batch_size=1)
    worst = ranks.first(lambda: _largest_difference(together, alone))
    if worst is None:
        return
    again = rows(second)
    if ranks.first(lambda: _largest_difference(together, again)) is None:
        raise ValueError(
            f"What `{type(acquisition).__name__}` works with depends on what else is in a sample's batch: {count} "
            f"samples have values one at a time that differ from those in batches of {project.data.scoring_batch_size} "
            f"by up to {worst:.1%} of the largest. {WAY_OUT}"
        )


def _largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float | None:
    """Return by what share of the largest value the rows differ, None where by next to nothing."""
    shares = [0.0]
    for key, values in one.items():
        if values.is_floating_point():
            if values.shape != other[key].shape:
                return 1.0
            a, b = values.double(), other[key].double()
            shares.append(float((a - b).abs().max() / a.abs().max().clamp(min=torch.finfo(values.dtype).tiny)))
    return max(shares) if max(shares) > TOLERANCE else None
