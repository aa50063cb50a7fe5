"""Numbers over repeats of a campaign: means, intervals, areas under curves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lightning_al.report.curves import Curve, shared_labels

# Whole words of a metric's name by which less of it is better: "val_loss", "test/RMSE", "top1_error".
_ERRORS = re.compile(
    r"(?<![a-z])(loss|r?mse|mae|mape|smape|err(or)?s?|nll|cross_?entropy|bce|ece|mce|brier|perplexity|ppl|wer|cer|fid"
    r"|hausdorff|distance|deviance|regret|risk)(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Spread:
    """A mean over repeats and the sample standard deviation (ddof = 1); no deviation for a single repeat."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise ``values``, one per repeat.

        Example:
            >>> print(Spread.of([0.5, 0.7]), "|", Spread.of([0.5]))
            0.6000 ± 0.1414 | 0.5000
        """
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f}"


def summarise(repeats: Sequence[Curve]) -> dict[int, Spread]:
    """Mean and spread of the metric over ``repeats`` at each label count they share.

    Raises:
        ValueError: If they share no label count.

    Example:
        >>> curves = [Curve("a", "acc", [20, 30], [0.4, 0.5]), Curve("b", "acc", [20, 30], [0.6, 0.7])]
        >>> {labels: str(spread) for labels, spread in summarise(curves).items()}
        {20: '0.5000 ± 0.1414', 30: '0.6000 ± 0.1414'}
    """
    shared = shared_labels(repeats)
    points = [dict(zip(curve.labels, curve.values, strict=True)) for curve in repeats]
    return {labels: Spread.of([point[labels] for point in points]) for labels in shared}


def mean_over_curve(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's mean over the shared label counts; then mean and spread over repeats."""
    return Spread.of([fmean(values) for values in shared_values(repeats)])


def is_error(metric: str) -> bool:
    """Whether less of a metric is better, as far as its name says so.

    Example:
        >>> [is_error(name) for name in ("val_loss", "test/RMSE", "test_acc", "auroc", "dice")]
        [True, True, False, False, False]
    """
    return _ERRORS.search(metric) is not None


def max_over_rounds(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's largest value over the shared label counts; then mean and spread over repeats.

    This is the figure the SAAL paper's tables print. It is taken on the test set, hence optimistic: read it beside the
    last round's.
    """
    return Spread.of([max(values) for values in shared_values(repeats)])


def min_over_rounds(repeats: Sequence[Curve]) -> Spread:
    """The same of each repeat's smallest value, for a metric of which less is better."""
    return Spread.of([min(values) for values in shared_values(repeats)])


def shared_values(repeats: Sequence[Curve]) -> list[list[float]]:
    """Return each curve's values at the label counts that all of them have."""
    shared = set(shared_labels(repeats))
    return [[v for labels, v in zip(c.labels, c.values, strict=True) if labels in shared] for c in repeats]
