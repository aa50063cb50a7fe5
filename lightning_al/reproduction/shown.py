"""What results show that is inside campaigns: which diagnosis has it, and how its table is read."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_al.reproduction.figures import Figure, Published
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case

TERMS = {"loss": "task loss", "gradient_norm": "gradient norm", "eigenvalue": "first eigenvalue"}
"""Columns of the terms of SAAL's bound, by their names among what is published."""
_WITH = {term: f"correlation with the {column}" for term, column in TERMS.items()}

Line = dict[str, str]


@dataclass(frozen=True)
class Diagnosed:
    """The tables that ``lightning-al diagnose`` wrote of the campaigns of one seed.

    Args:
        folder: Where they are.
        case: Whose.
        methods: By the names that campaigns have in them.
        needs: Knows the rounds of protocols.
    """

    folder: Path
    case: Case
    methods: Mapping[str, str]
    needs: Needs

    def lines(self, name: str) -> list[Line]:
        """Return the lines of a table; none, if it was not written."""
        path = self.folder / f"{name}.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [{**line, "campaign": self.methods.get(line["campaign"], "")} for line in csv.DictReader(file)]

    def figure(self, method: str, what: str, published: Any, ours: str | float | None) -> Figure:
        """Return a row; an empty cell is no value."""
        values = [] if ours in (None, "") else [float(ours)]  # type: ignore[arg-type]
        return Figure(self.case.name, method, what, Published.of(published), values)

    def per_cycle(self, method: str) -> dict[int, float]:
        """Return what is published of a method by round."""
        row = self.case.published.get(method) or []
        return {self.needs.round_at(self.case, place): value for place, value in enumerate(row)}


Read = Callable[[Diagnosed], list[Figure]]


def _nothing(found: Diagnosed) -> list[Figure]:
    """The paper prints no figures of it."""
    return []


def _bound_correlations(found: Diagnosed) -> list[Figure]:
    rows = []
    for line in found.lines("bound_scores"):
        published = found.case.published.get(line["score"].lower(), {})
        rows += [
            found.figure(f"score of {line['score']}", _WITH[term], published.get(term), line[column])
            for term, column in TERMS.items()
            if term in published or not found.case.published
        ]
    return rows


def _term_correlations(found: Diagnosed) -> list[Figure]:
    lines = {line["term"]: line for line in found.lines("bound_terms")}
    return [
        found.figure(TERMS[one], _WITH[other], value, lines[TERMS[one]][TERMS[other]])
        for one, others in found.case.published.items()
        for other, value in others.items()
        if lines
    ]


def _top_overlap(found: Diagnosed) -> list[Figure]:
    lines = {line["term"]: line for line in found.lines("bound_overlap")}
    return [
        found.figure(TERMS[term], f"share of SAAL's {k} largest", value, lines[TERMS[term]].get(f"k={k}"))
        for term, shares in found.case.published.items()
        for k, value in shares.items()
        if lines
    ]


def _by_round(name: str, column: str, what: str, *, counts: bool = False, row: str | None = None) -> Read:
    """Return what reads a column of a table with a line for each round.

    Args:
        name: Of the table.
        column: Of a share, of which percent are shown.
        what: Said of it.
        counts: Whether counts of a round's picks are published, which become percent of them.
        row: The published row, if it is not that of the method.
    """

    def read(found: Diagnosed) -> list[Figure]:
        picks = found.needs.recipe(found.case, small=False)["loop"]["query_size"]
        rows = []
        for line in found.lines(name):
            method, number = line["campaign"], int(line["round"])
            if line.get("scheme", _SCHEMES.get(method)) != _SCHEMES.get(method):
                continue
            published = found.per_cycle(method if row is None else row)
            if number not in published:
                continue
            value = round(100 * published[number] / picks, 2) if counts else published[number]
            ours = 100 * float(line[column]) if line[column] else None
            rows.append(found.figure(method, f"{what}, round {number}", value, ours))
        return rows

    return read


_SCHEMES = dict.fromkeys(("expected_grad_norm", "entropy_grad_norm"), "entropy")
"""By which norm methods pick: the expected loss, of which the one takes it, is the entropy under cross-entropy."""


def _classes(found: Diagnosed) -> list[Figure]:
    rows: list[Figure] = []
    of: dict[tuple[str, int], list[Line]] = {}
    for line in found.lines("classes"):
        of.setdefault((line["campaign"], int(line["round"])), []).append(line)
    for (method, number), lines in of.items():
        published = found.case.published.get(method, {})
        accuracies = [100 * float(line["test accuracy"]) for line in lines if line["test accuracy"]]
        if isinstance(published, Mapping):
            highest = max(accuracies, default=None)
            rows.append(found.figure(method, f"highest of the classes, round {number}", published.get(number), highest))
            continue
        for line, value in zip(lines, published, strict=False):
            ours = 100 * float(line["test accuracy"]) if line["test accuracy"] else None
            rows.append(found.figure(method, f"class {line['class']}, round {number}", value, ours))
    return rows


def _other_architecture(found: Diagnosed) -> list[Figure]:
    return [
        found.figure(
            line["campaign"],
            "the other network",
            found.case.published.get(line["campaign"]),
            100 * float(line["other model"]),
        )
        for line in found.lines("transfer")
        if line["metric"].endswith("_acc")
    ]


@dataclass(frozen=True)
class Shown:
    """How something inside campaigns is had.

    Args:
        diagnosis: What ``lightning-al diagnose --show`` calls it.
        read: Reads published figures and ours out of its tables.
        options: Of ``diagnose``.
        small: The same in place of these for ``--small``.
        weights: Whether it takes the weights of each round.
        packages: What else must be installed.
    """

    diagnosis: str
    read: Read = _nothing
    options: Sequence[str] = ()
    small: Sequence[str] = ()
    weights: bool = True
    packages: Sequence[str] = ()


_THREE_ROUNDS = ("--rounds=0,5,-1",)
_FEW = ("--rounds=0,1,2", "--samples=200", "--held-out=200")

SHOWN: dict[str, Shown] = {
    "bound_terms": Shown("bound", _bound_correlations, small=_THREE_ROUNDS),
    "bound_correlations": Shown("bound", _bound_correlations, small=_THREE_ROUNDS),
    "term_correlations": Shown("bound", _term_correlations, small=_THREE_ROUNDS),
    "top_overlap": Shown("bound", _top_overlap, small=_THREE_ROUNDS),
    "perturbed_losses": Shown("losses", small=("--samples=500",)),
    "loss_landscape": Shown(
        "landscape", options=("--rounds=-1",), small=("--rounds=-1", "--samples=500", "--points=11")
    ),
    "label_kept": Shown("labels_kept", small=("--samples=500",)),
    "relative_margin": Shown("labels_kept", small=("--samples=500",)),
    "feature_map": Shown("tsne", packages=("sklearn",)),
    "confidence": Shown("confidence"),
    "class_accuracies": Shown("classes", _classes),
    "influence_bounds": Shown("influence", options=("--loss=entropy",), small=("--loss=entropy", *_FEW)),
    "influence_overlap": Shown(
        "influence",
        _by_round("influence_overlap", "approx-3", "% of the K of largest influence", counts=True, row="eq_5"),
        small=_FEW,
    ),
    "true_norm_overlap": Shown(
        "norms", _by_round("norms", "share", "% of picks with the largest true norms", counts=True)
    ),
    "train_test_gap": Shown("gap", _by_round("gap", "gap", "training less test accuracy")),
    "falling_norms": Shown("falls", _by_round("falls", "share", "% of picks whose norm fell", counts=True)),
    "other_architecture": Shown(
        "transfer", _other_architecture, options=("--rounds=-1",), small=("--rounds=-1",), weights=False
    ),
}
"""By what results show."""
