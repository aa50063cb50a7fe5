"""How long campaigns took, from their ledgers alone (SAAL, Fig. 3; LPLgrad, Table IV; gradient norms, Table 9)."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from lightning_al.campaign.history import read_rounds
from lightning_al.campaign.results import QUERY, RoundResult
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.pictures import bars


def seconds_of(rounds: list[RoundResult]) -> dict[str, float]:
    """Return what rounds took: the median of a training and of a query, in seconds, and the hours of all stages.

    Args:
        rounds: As :attr:`Campaign.rounds <lightning_al.Campaign.rounds>` has them. A stage that did not run counts for
            no median.

    Example:
        >>> first = RoundResult(0, 20, [1], [0.5], {}, {"fit": 9.0, "evaluate": 1.0, "score": 2.0, "select": 0.5})
        >>> last = RoundResult(1, 30, [], [], {}, {"fit": 11.0, "evaluate": 1.0, "score": 0.0, "select": 0.0})
        >>> found = seconds_of([first, last])
        >>> found["fit"], found["query"], round(found["hours"] * 3600, 6)
        (10.0, 2.5, 24.5)
    """
    fits = [r.seconds["fit"] for r in rounds if r.seconds.get("fit", 0.0) > 0]
    queries = [sum(r.seconds.get(stage, 0.0) for stage in QUERY) for r in rounds if r.picked]
    totals = {
        "hours of fits": sum(fits),
        "hours of queries": sum(queries),
        "hours": sum(sum(r.seconds.values()) for r in rounds),
    }
    nothing = float("nan")
    return {
        "fit": median(fits) if fits else nothing,
        "query": median(queries) if queries else nothing,
        **{name: total / 3600 for name, total in totals.items()},
    }


def seconds(folders: Mapping[str, str | Path]) -> list[Diagnosis]:
    """The seconds of a training and of a query, and the hours of whole campaigns, evaluation included.

    Args:
        folders: Of the campaigns, by the names that the table has for them. They need not have kept weights.

    Raises:
        FileNotFoundError: If there is no campaign in one.
    """
    rows: list[list[Any]] = []
    panels: dict[str, dict[str, list[float]]] = {"median seconds": {"fit": [], "query": []}, "hours": {}}
    for name, folder in folders.items():
        rounds = read_rounds(folder)
        found = seconds_of(rounds)
        rows.append([name, len(rounds), *found.values()])
        for stage, values in panels["median seconds"].items():
            values.append(0.0 if found[stage] != found[stage] else found[stage])
        for column in ("hours of fits", "hours of queries"):
            panels["hours"].setdefault(column, []).append(found[column])
    header = ["campaign", "trainings", "fit, median s", "query, median s", "hours of fits", "hours of queries", "hours"]
    return [
        Diagnosis(
            "seconds", "Time of trainings and queries", header, rows, bars(panels, list(folders), apart=list(panels))
        )
    ]
