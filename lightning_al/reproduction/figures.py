"""One printed figure beside ours: what was published, what each seed gave here, and how far they are apart."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lightning_al.report.statistics import Spread


@dataclass(frozen=True)
class Published:
    """A printed figure.

    Args:
        mean: The figure.
        std: Its standard deviation over repeats, where printed.
    """

    mean: float
    std: float | None = None

    @classmethod
    def of(cls, printed: float | Sequence[float] | None) -> "Published | None":
        """Return what a registry has: a number, or a list of mean and standard deviation, of which that may lack.

        Example:
            >>> Published.of([81.2, 0.5]), Published.of(74), Published.of(None)
            (Published(mean=81.2, std=0.5), Published(mean=74, std=None), None)
        """
        if printed is None:
            return None
        return cls(*printed[:2]) if isinstance(printed, Sequence) else cls(printed)


@dataclass(frozen=True)
class Figure:
    """A row of the table.

    Args:
        case: Of the result.
        method: Or what else the row is of.
        what: Which value of it.
        published: None: the paper prints none.
        ours: One value a seed, in the unit of what is published.
    """

    case: str
    method: str
    what: str
    published: Published | None = None
    ours: Sequence[float] = field(default_factory=list)

    @property
    def spread(self) -> Spread | None:
        """Our mean and sample standard deviation; None without a seed."""
        return Spread.of(list(self.ours)) if self.ours else None

    @property
    def difference(self) -> float | None:
        """Our mean less the published one."""
        spread = self.spread
        return None if self.published is None or spread is None else spread.mean - self.published.mean

    @property
    def in_errors(self) -> float | None:
        r"""The difference in our standard errors, :math:`s/\sqrt n`; None for fewer than two seeds, or equal ones.

        Example:
            >>> Figure("a", "b", "c", Published(80.0), [84.0, 86.0]).in_errors
            5.0
        """
        spread, difference = self.spread, self.difference
        if spread is None or difference is None or not spread.std or math.isnan(spread.std):
            return None
        return difference / (spread.std / math.sqrt(len(self.ours)))


def over_seeds(of_seeds: Iterable[Sequence[Figure]]) -> list[Figure]:
    """Put the rows of several seeds together, in the order in which they come.

    Args:
        of_seeds: The rows of each seed, each with one value or none.
    """
    rows: dict[tuple[str, str, str], Figure] = {}
    for figures in of_seeds:
        for each in figures:
            key = each.case, each.method, each.what
            before = rows.get(key)
            values = [*(before.ours if before else []), *each.ours]
            rows[key] = Figure(*key, published=each.published, ours=values)
    return list(rows.values())
