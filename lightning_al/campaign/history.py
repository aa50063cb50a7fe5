"""The history of a campaign: its rounds as a list that shows itself, read from events without torch."""

import math
from collections.abc import Iterable
from itertools import compress
from pathlib import Path
from typing import Any, SupportsIndex, overload

from lightning_al.campaign.events import Event, check_events, read_ledger
from lightning_al.campaign.metrics import shared_metrics
from lightning_al.campaign.results import INITIAL_ROUND, LABELS, RoundResult, after_move
from lightning_al.drawing.curve import dress, sparkline
from lightning_al.drawing.markup import Html, joined, tag
from lightning_al.drawing.numbers import alike
from lightning_al.extras import needs, pandas_or
from lightning_al.storage.files import write_csv
from lightning_al.words import WHY_NO_METRICS, did_you_mean, shown

_MOST_ROWS = 20  # of a table that is shown; of more rounds the first and the last ones are
_MOST_METRICS = 3
_BASE = ("round", "labelled", "spent", "picked")


class History(list[RoundResult]):
    """What each round of a campaign yielded, oldest first: a list that notebooks show as a table and a small curve.

    Slices are histories too; else it is, and compares as, a list.

    Example:
        >>> history = History([RoundResult(0, 20, [3, 5], [], {"val_acc": 0.5}, {"fit": 1.5})])
        >>> print(history)
        round 0: 20 labels | val_acc 0.5 | fit 1.5s
        >>> history.rows()
        [{'round': 0, 'labelled': 20, 'spent': nan, 'picked': 2, 'val_acc': 0.5, 'fit_seconds': 1.5}]
        >>> history == list(history), type(history[:1]).__name__
        (True, 'History')
    """

    @overload
    def __getitem__(self, place: SupportsIndex) -> RoundResult: ...

    @overload
    def __getitem__(self, place: slice) -> "History": ...

    def __getitem__(self, place: SupportsIndex | slice) -> "RoundResult | History":
        """Return a round, or some of them as a history."""
        found = super().__getitem__(place)
        return found if isinstance(found, RoundResult) else History(found)

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no rounds yet"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each round, of plain values.

        They are the round, ``labelled``, ``spent``, how many samples were ``picked``, the metrics, and the seconds of
        each stage as ``fit_seconds`` and its like.
        """
        return [
            {
                "round": result.round,
                "labelled": result.labelled,
                "spent": result.spent,
                "picked": len(result.picked),
                **result.metrics,
                **{f"{stage}_seconds": value for stage, value in result.seconds.items()},
            }
            for result in self
        ]

    def to_frame(self) -> Any:
        """Return a pandas ``DataFrame`` of :meth:`rows`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return pandas_or("rows()").DataFrame(self.rows(), columns=self._columns())

    def to_csv(self, path: str | Path) -> None:
        """Write a CSV file of :meth:`rows`, which appears whole or not at all; of several processes the first does."""
        from lightning_al.distributed.ranks import Ranks  # imports torch, which reading a history does without

        if Ranks().is_first:
            write_csv(Path(path), self.rows(), self._columns())

    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*_BASE, *(name for row in self.rows() for name in row)]))

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw a metric against the labels, and return the axes; no window is opened.

        Args:
            metric: Which; default the one with "acc" in its name, else one of which more is better.
            ax: Axes of matplotlib's to draw on, as for a second campaign beside; None: those of a new figure.

        Raises:
            ImportError: If matplotlib is missing.
            ValueError: If no round has such a metric.

        Example:
            >>> history = History([RoundResult(0, 20, [3], [], {"val_acc": 0.5}, {"fit": 1.5})])
            >>> history.plot().get_ylabel()
            'val_acc'
        """
        metric = self._checked(metric)
        if ax is None:
            with needs("A picture", "matplotlib", "plot"):
                import matplotlib.pyplot as plt
            ax = plt.subplots(figsize=(6, 4), layout="constrained")[1]
        measured = [result for result in self if metric in result.metrics]
        amounts, values = [each.amount for each in measured], [each.metrics[metric] for each in measured]
        ax.plot(amounts, values, "o-" if len(measured) <= 40 else "-", markersize=3.5, linewidth=1.8)
        dress(ax, x="labelled samples" if self._counts == LABELS else "labelled pixels", y=metric)
        return ax

    def _checked(self, metric: str | None) -> str:
        recorded = list(dict.fromkeys(name for result in self for name in result.metrics))
        if not recorded:
            why = f"no round has metrics: {WHY_NO_METRICS}" if self else "no round is finished yet"
            raise ValueError(f"There is no curve to draw: {why}.")
        if metric is not None and metric not in recorded:
            raise ValueError(
                f"No metric {shown(metric)}{did_you_mean(metric, recorded)}; these rounds have {shown(recorded)}."
            )
        return metric or (shared_metrics([result.metrics for result in self]) or recorded)[0]

    @property
    def _counts(self) -> str:
        return self[-1].counts if self else LABELS

    def _repr_html_(self) -> str:
        """Return a table of the rounds, and the curve of the main metric."""
        if not self:
            return tag("p", "No round is finished yet.")
        metrics = shared_metrics([result.metrics for result in self])
        parts = [_table(self, metrics[:_MOST_METRICS], self._counts)]
        if metrics:
            measured = [result for result in self if metrics[0] in result.metrics]
            values = [result.metrics[metrics[0]] for result in measured]
            text = alike(values)
            title = f"{metrics[0]} by {self._counts}: {text(values[0])} to {text(values[-1])}"
            parts.append(sparkline([result.amount for result in measured], values, title))
        return tag("div", *parts)


class ShowsRounds:
    """What has rounds, and shows them as a history does."""

    rounds: History

    def to_frame(self) -> Any:
        """Return a pandas ``DataFrame`` with a row for each round, see :meth:`History.rows`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return self.rounds.to_frame()

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw a metric against the labels, and return the axes, see :meth:`History.plot`."""
        return self.rounds.plot(metric, ax=ax)

    def _repr_html_(self) -> str:
        return joined([tag("p", repr(self)), Html(self.rounds._repr_html_())])


def _table(history: History, metrics: list[str], counts: str) -> Html:
    head = ["round", counts, *metrics, "asked for", "seconds"]
    amount_of = alike(result.amount for result in history)
    text_of = {name: alike(result.metrics[name] for result in history if name in result.metrics) for name in metrics}

    def said(name: str, value: float) -> str:
        return text_of[name](value) if math.isfinite(value) else str(value)

    rows = [
        [
            result.round,
            amount_of(result.amount),
            *(said(name, result.metrics.get(name, math.nan)) for name in metrics),
            len(result.picked),
            f"{sum(result.seconds.values()):.1f}",
        ]
        for result in history
    ]
    if len(rows) > _MOST_ROWS:
        half = _MOST_ROWS // 2
        rows[half:-half] = [["…"] * len(head)]
    return tag(
        "table",
        tag("thead", tag("tr", *(tag("th", cell) for cell in head))),
        tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)),
    )


def rounds_of(events: Iterable[Event]) -> History:
    """Return what each round yielded so far, oldest first.

    Args:
        events: A campaign's, oldest first. Of several fits of one round the last counts.
    """
    fits: dict[int, Event] = {}
    questions: dict[int, Event] = {}
    for event in events:
        if event["kind"] == "moved":
            questions = {number: after_move(question, event) for number, question in questions.items()}
        elif event["kind"] == "fitted":
            fits[event["round"]] = event
        elif event["kind"] == "asked" and event["round"] != INITIAL_ROUND:
            questions[event["round"]] = event
    results = History()
    latest: Event = {"labelled": 0, "metrics": {}}
    for number in sorted(fits.keys() | questions.keys()):
        fit, question = fits.get(number), questions.get(number)
        latest = fit or latest
        seconds = {"fit": 0.0, "evaluate": 0.0, "score": 0.0, "select": 0.0}
        seconds |= (fit["seconds"] if fit else {}) | (question["seconds"] if question else {})
        here = [unit >= 0 for unit in question["indices"]] if question else []
        results.append(
            RoundResult(
                round=number,
                labelled=latest["labelled"],
                picked=list(compress(question["indices"], here)) if question else [],
                scores=list(compress(question["scores"], here)) if question else [],
                metrics=dict(latest["metrics"]),
                seconds=seconds,
                spent=float(latest["spent" if "spent" in latest else "labelled"]),
                counts=latest.get("counts", LABELS),
                acquisition=dict(question.get("acquisition", {})) if question else {},
            )
        )
    return results


def read_rounds(dirpath: str | Path) -> History:
    """Read what each round of the campaign in ``dirpath`` yielded so far.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If its ledger is damaged, or of a newer version.
    """
    events = read_ledger(dirpath)
    check_events(events, dirpath)
    return rounds_of(events)
