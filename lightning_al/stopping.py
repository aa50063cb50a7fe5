"""Rules that end a campaign once it has learnt enough, for the loop's ``stop=``."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lightning_al.campaign.results import RoundResult
from lightning_al.checks import Findings, check_choice, check_count, check_number


class StopRule(ABC):
    """Says from the results so far, the newest fit's last, whether the campaign is over.

    The loop calls it after every fit and evaluation; the last round then has ``picked=[]``. The answer must follow from
    the results alone, so that a resumed campaign and every process give the same one. Any function of the list will do
    as well.

    Args:
        monitor: A metric that the evaluation logs.
        mode: ``"max"`` if larger is better, or ``"min"``.

    Raises:
        ValueError: If ``mode`` is neither.
    """

    def __init__(self, monitor: str, mode: str = "max") -> None:
        check_choice("mode", mode, ("max", "min"))
        self.monitor = monitor
        self.mode = mode

    @abstractmethod
    def __call__(self, history: Sequence[RoundResult]) -> bool:
        """Whether the campaign is over."""

    def values(self, history: Sequence[RoundResult]) -> list[float]:
        """Return the metric round by round, of such a sign that larger is better; NaN counts as the worst.

        Raises:
            ValueError: If it was not logged in a round.
        """
        for result in history:
            if self.monitor not in result.metrics:
                logged = ", ".join(map(repr, result.metrics)) or "nothing"
                raise ValueError(
                    f"`{type(self).__name__}(monitor={self.monitor!r})`: round {result.round} logged no such metric, "
                    f"only {logged}."
                )
        sign = 1 if self.mode == "max" else -1
        signed = [sign * result.metrics[self.monitor] for result in history]
        return [-math.inf if math.isnan(value) else value for value in signed]


class MetricReached(StopRule):
    """Stops a campaign once a metric is good enough.

    Args:
        monitor: A metric that the evaluation logs.
        value: What is good enough.
        mode: ``"max"`` if larger is better, or ``"min"``.

    Raises:
        TypeError: If ``value`` is no number.
        ValueError: If ``mode`` is neither, or ``value`` is not finite.

    Example:
        >>> result = RoundResult(0, 20, [3], [], {"val_acc": 0.93}, {})
        >>> MetricReached("val_acc", 0.9)([result]), MetricReached("val_acc", 0.95)([result])
        (True, False)
    """

    def __init__(self, monitor: str, value: float, mode: str = "max") -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(monitor, mode)
            findings.of(check_number, "value", value)
        self.value = value

    def __call__(self, history: Sequence[RoundResult]) -> bool:
        """Whether the metric was good enough in any round."""
        threshold = self.value if self.mode == "max" else -self.value
        return any(value >= threshold for value in self.values(history))


class MetricPlateau(StopRule):
    """Stops a campaign once a metric has not become better for some rounds.

    Args:
        monitor: A metric that the evaluation logs.
        patience: How many rounds in a row may be no better than the best before them.
        min_delta: What counts as better: by more than this.
        mode: ``"max"`` if larger is better, or ``"min"``.

    Raises:
        TypeError: If ``patience`` is no integer, or ``min_delta`` no number.
        ValueError: If ``mode`` is neither, ``patience`` less than 1, or ``min_delta`` negative or not finite.

    Example:
        >>> rounds = [RoundResult(i, 20, [], [], {"loss": x}, {}) for i, x in enumerate([0.9, 0.5, 0.6, 0.5])]
        >>> MetricPlateau("loss", patience=2, mode="min")(rounds)
        True
        >>> MetricPlateau("loss", patience=3, mode="min")(rounds)
        False
    """

    def __init__(self, monitor: str, patience: int = 3, min_delta: float = 0.0, mode: str = "max") -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(monitor, mode)
            findings.of(check_count, "patience", patience)
            findings.of(check_number, "min_delta", min_delta, least=0)
        self.patience = patience
        self.min_delta = min_delta

    def __call__(self, history: Sequence[RoundResult]) -> bool:
        """Whether the last ``patience`` rounds were no better than the best before them."""
        best, since = -math.inf, 0
        for value in self.values(history):
            better = value > best + self.min_delta
            since = 0 if better else since + 1
            best = max(best, value) if better else best
        return since >= self.patience
