"""What several acquisitions would ask for in one round, beside each other: as text, rows and a picture."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.campaign.states import State
from lightning_al.drawing.canvas import new_figure, save_figure
from lightning_al.extras import pandas_or
from lightning_al.report.tables import markdown, matrix_table
from lightning_al.words import shown

_MOST_CLASSES = 12  # whose counts are told one by one


@dataclass(frozen=True)
class Raced:
    """What one acquisition would ask for.

    Args:
        name: In the race.
        options: Its class and options, as the ledger has them.
        indices: Dataset indices, best first.
        keys: What these samples are called, None where one is known by its index alone.
        scores: Theirs; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` (without reading samples, which is done once for all; the first
            of those that share forward passes bear them) and ``select``.
        forward: ``"shared"``: it works with outputs and features of the model, of forward passes that all such share;
            ``"own"``: it makes other ones, of its own; ``"none"``: it looks at no sample.
        classes: How many picks there are of each class; empty where samples are not of one class each.
        to_labelled: Mean distance of a pick to the nearest labelled sample; NaN where the model gives no features.
        apart: Mean distance of a pick to the nearest other pick; NaN where there is none.
    """

    name: str
    options: dict[str, Any]
    indices: list[int]
    keys: list[str | None]
    scores: list[float]
    seconds: dict[str, float]
    forward: str
    classes: list[int]
    to_labelled: float
    apart: float


@dataclass(frozen=True)
class RaceResult:
    """The picks of several acquisitions in one round, of which none is asked for yet.

    ``print`` shows it; :meth:`to_frame`, :attr:`overlap` and :meth:`save_picture` say the same in other forms.
    ``loop.ask(trainer, acquisition="SAAL")`` asks for the picks of one.

    Args:
        round: The round.
        labelled: Labels that the model was trained on.
        candidates: How many samples the picks are from.
        k: How many each picks.
        classes: Names or numbers of the classes; empty where samples are not of one class each.
        classes_are: ``"true"``, the dataset's own of a simulated campaign, or ``"predicted"`` by the model.
        raced: What each would ask for.
        seconds: That all of it took, without the fit of the round.
        digest: Of the candidates, in their order.

    Example:
        >>> def raced(name, indices, classes):
        ...     return Raced(name, {}, indices, [None] * 2, [], {"score": 1.0}, "shared", classes, 1.0, 0.5)
        >>> entries = (raced("Entropy", [4, 2], [2, 0]), raced("Margin", [2, 9], [1, 1]))
        >>> race = RaceResult(0, 8, 100, 2, ("cat", "dog"), "predicted", entries, 3.5)
        >>> race.overlap
        tensor([[2, 1],
                [1, 2]])
        >>> race["Margin"].indices
        [2, 9]
        >>> print(race)
        Race of 2 acquisitions in round 0: 2 picks each of 100 candidates, after 8 labels, in 3.5 s.
        |         | seconds | forward | to labelled | apart | predicted classes | evenness |
        |---------|---------|---------|-------------|-------|-------------------|----------|
        | Entropy | 1.0     | shared  | 1           | 0.5   | 2 0               | 0.00     |
        | Margin  | 1.0     | shared  | 1           | 0.5   | 1 1               | 1.00     |
        Classes: cat, dog.
        Share of picks in common:
        |           | 1    | 2    | mean |
        |-----------|------|------|------|
        | 1 Entropy | -    | 0.50 | 0.50 |
        | 2 Margin  | 0.50 | -    | 0.50 |
    """

    round: int
    labelled: int
    candidates: int
    k: int
    classes: tuple[str, ...]
    classes_are: str
    raced: tuple[Raced, ...]
    seconds: float = 0.0
    digest: str = ""

    @property
    def names(self) -> list[str]:
        """Of the acquisitions."""
        return [each.name for each in self.raced]

    def __getitem__(self, name: str) -> Raced:
        """Return what the acquisition of this name would ask for.

        Raises:
            KeyError: If there is none; with those that there are.
        """
        for each in self.raced:
            if each.name == name:
                return each
        raise KeyError(f"No acquisition of the race is called {shown(name)}. There are {', '.join(self.names)}.")

    @property
    def picks(self) -> dict[str, list[int]]:
        """Dataset indices that each would ask for, best first, by name."""
        return {each.name: list(each.indices) for each in self.raced}

    @property
    def overlap(self) -> Tensor:
        """(A, A): how many picks each two acquisitions have in common."""
        sets = [set(each.indices) for each in self.raced]
        return torch.tensor([[len(one & other) for other in sets] for one in sets])

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each acquisition, of plain values."""
        shares = self._shares()
        return [
            {
                "acquisition": each.name,
                "seconds": sum(each.seconds.values()),
                "forward": each.forward,
                "to_labelled": each.to_labelled,
                "apart": each.apart,
                "evenness": _evenness(each.classes),
                "in_common": float(np.nanmean(row)) if len(self.raced) > 1 else math.nan,
                **{f"class_{name}": count for name, count in zip(self.classes, each.classes, strict=False)},
            }
            for each, row in zip(self.raced, shares, strict=True)
        ]

    def to_frame(self) -> Any:
        """Return a pandas ``DataFrame`` of :meth:`rows`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return pandas_or("rows()").DataFrame(self.rows())

    def _shares(self) -> np.ndarray:
        """Return what share of the picks each two have in common, (A, A), NaN on the diagonal."""
        sizes = np.array([max(len(each.indices), 1) for each in self.raced], dtype=float)
        shares = self.overlap.numpy() / np.minimum.outer(sizes, sizes)
        np.fill_diagonal(shares, np.nan)
        return shares

    def __str__(self) -> str:
        header = ["", "seconds", "forward", "to labelled", "apart"]
        if self.classes:
            header += [f"{self.classes_are} classes", "evenness"]
        rows = [header]
        for each in self.raced:
            cells = [each.name, f"{sum(each.seconds.values()):.1f}", each.forward]
            cells += [_number(each.to_labelled), _number(each.apart)]
            if self.classes:
                few = len(self.classes) <= _MOST_CLASSES
                seen = f"{sum(count > 0 for count in each.classes)} of {len(self.classes)}"
                cells += [" ".join(map(str, each.classes)) if few else seen, f"{_evenness(each.classes):.2f}"]
            rows.append(cells)
        lines = [
            f"Race of {len(self.raced)} acquisitions in round {self.round}: {self.k} picks each of "
            f"{self.candidates:,} candidates, after {self.labelled:,} labels, in {self.seconds:.1f} s.",
            markdown(rows),
        ]
        if 0 < len(self.classes) <= _MOST_CLASSES:
            lines.append(f"Classes: {', '.join(self.classes)}.")
        if any(each.forward == "own" for each in self.raced):
            lines.append("forward own: gradients, dropout, committees and other networks take passes of their own.")
        if len(self.raced) > 1:
            lines += ["Share of picks in common:", matrix_table(self.names, self._shares(), "{:.2f}".format)]
        return "\n".join(lines)

    def save_picture(self, path: str | Path) -> None:
        """Draw the overlap of the picks, and their classes, into a file.

        Args:
            path: The ending chooses the format (png, pdf, svg). Missing folders are made.

        Raises:
            ImportError: If matplotlib is missing.
        """
        count = len(self.raced)
        side, names = max(2.4, 0.48 * count), 0.085 * max(map(len, self.names))
        figure = new_figure(figsize=((2 if self.classes else 1) * side + names + 1.4, side + names + 0.9))
        panels = figure.subplots(1, 2 if self.classes else 1, sharey=True, squeeze=False)[0]
        self._draw_overlap(panels[0])
        if self.classes:
            self._draw_classes(panels[1])
        figure.suptitle(f"Round {self.round}: {self.k} picks of {self.candidates:,} candidates", fontsize="medium")
        save_figure(figure, path)

    def _draw_overlap(self, axes: Any) -> None:
        shares = self._shares()
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.3, aspect="auto")
        axes.set_xticks(range(len(self.raced)), self.names, rotation=90, fontsize="small")
        axes.set_yticks(range(len(self.raced)), self.names, fontsize="small")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for i, j in np.argwhere(np.isfinite(shares)):
            colour = "white" if shares[i, j] > 0.75 else "black"
            axes.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_title("share of picks in common", fontsize="small")

    def _draw_classes(self, axes: Any) -> None:
        import matplotlib  # which is there by now

        colours = matplotlib.color_sequences["tab20"]
        left = np.zeros(len(self.raced))
        for number, name in enumerate(self.classes):
            counts = np.array([each.classes[number] for each in self.raced], dtype=float)
            axes.barh(range(len(self.raced)), counts, left=left, color=colours[number % 20], label=name)
            left += counts
        axes.set_xlabel("picks", fontsize="small")
        axes.set_title(f"{self.classes_are} classes", fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
        if len(self.classes) <= _MOST_CLASSES:
            axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    # -- on disk ---------------------------------------------------------------------------------------------------

    def as_state(self) -> State:
        """Return it as plain values, of which :meth:`of_state` makes it again."""
        return {**asdict(self), "classes": list(self.classes), "raced": [asdict(each) for each in self.raced]}

    @classmethod
    def of_state(cls, state: State) -> "RaceResult":
        """Return what :meth:`as_state` was called on."""
        raced = tuple(Raced(**each) for each in state["raced"])
        return cls(**{**state, "classes": tuple(state["classes"]), "raced": raced})


def _evenness(counts: Sequence[int]) -> float:
    """Return the entropy of a distribution over classes, of the largest that there may be; NaN of no counts."""
    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return math.nan
    shares = [count / total for count in counts if count]
    return abs(sum(share * math.log(share) for share in shares) / math.log(len(counts)))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
