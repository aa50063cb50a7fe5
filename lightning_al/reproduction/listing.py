"""The list of all results: which of their cases can run here, and what the others lack."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from lightning_al.reproduction.needs import NO_SMALL, Needs
from lightning_al.reproduction.registry import Result
from lightning_al.reproduction.shown import SHOWN

_NOTHING_RUNS = "settings"
_WIDTH = 120


def listing(results: Mapping[str, Result], needs: Needs) -> str:
    """Return the list: a line for each result and below it what it lacks, then where data can be had that are not here.

    Args:
        results: By their ids.
        needs: Knows what is here.
    """
    rows = [["result", "runs here", "small", "what it shows"]]
    said = [""]
    named: list[str] = []
    for name, result in results.items():
        full, small = (lacking(result, needs, small=small) for small in (False, True))
        named += [lack for lacks in (*full.values(), *small.values()) for lack in lacks]
        rows.append([name, _share(full), _share(small), result.title])
        said.append("nothing is trained" if result.shows == _NOTHING_RUNS else _said(full, small))
    lines = []
    indent = " " * (sum(max(len(row[column]) for row in rows) + 2 for column in range(3)) + 2)
    for line, below in zip(_aligned(rows), said, strict=True):
        lines += [line, *([_wrapped(below, indent, indent)] if below else [])]
    get = needs.where(list(dict.fromkeys(named)))
    if get:
        lines += [
            "",
            "Data that are not here:",
            *(_wrapped(f"{title}: {way}", "  ", "    ") for title, way in get.items()),
        ]
    lines += [
        "",
        "runs here: how many of a result's cases have their recipes, data and packages here. small: the same of the",
        "small form, for a CPU, which is not the papers'. To run one: `lightning-al reproduce saal/table-1 [--small]`.",
    ]
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str) -> str:
    # Names like "CIFAR-10" and addresses are not to be cut in two.
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def lacking(result: Result, needs: Needs, *, small: bool) -> dict[str, list[str]]:
    """Return what each case of a result lacks; nothing of those that can run."""
    if result.shows == _NOTHING_RUNS:
        return {name: [] for name in result.cases}
    packages = SHOWN[result.shows].packages if result.shows in SHOWN else ()
    return {name: needs.lacks(case, small=small, packages=packages) for name, case in result.cases.items()}


def _share(lacks: Mapping[str, Sequence[str]]) -> str:
    can = sum(not each for each in lacks.values())
    return f"{can} of {len(lacks)}"


def _said(full: Mapping[str, Sequence[str]], small: Mapping[str, Sequence[str]]) -> str:
    """Say what is lacking, and what the small form lacks beside that."""
    known = {*(lack for lacks in full.values() for lack in lacks), NO_SMALL}
    beside = {case: [lack for lack in lacks if lack not in known] for case, lacks in small.items()}
    texts = [f"{head} {said}" for head, said in (("lacks", _listed(full)), ("small lacks", _listed(beside))) if said]
    return "; ".join(texts)


def _listed(lacks: Mapping[str, Sequence[str]]) -> str:
    """List what is lacking, and of which cases if not all lack it."""
    of: dict[str, list[str]] = {}
    for case, lacking in lacks.items():
        for lack in lacking:
            of.setdefault(lack, []).append(case)
    texts = [lack if len(cases) == len(lacks) else f"{lack} ({', '.join(cases)})" for lack, cases in of.items()]
    return ", ".join(texts)


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
