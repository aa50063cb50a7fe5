"""``lightning-al status``: where a campaign stands, read from its ledger alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from lightning_al.campaign.metrics import metrics_in_words
from lightning_al.campaign.results import PIXELS
from lightning_al.campaign.standing import Standing
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import annotation_of

_MOST_CLASSES = 12


def status_of(dirpath: str | Path) -> dict[str, Any]:
    """Return where a campaign stands, as plain values.

    Args:
        dirpath: Its folder.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If its ledger is damaged, or of a newer version.
    """
    standing = Standing(dirpath)
    last = standing.rounds[-1] if standing.rounds else None
    return {
        "folder": str(dirpath),
        "samples": standing.size,
        **{state: len(standing.units(state)) for state in ("labelled", "pending", "skipped")},
        "spent": standing.spent,
        "counts": standing.counts,
        "budget": standing.options.get("budget"),
        "rounds": len(standing.rounds),
        "metrics": dict(last.metrics) if last else {},
        "metrics_amount": last.amount if last else 0,
        "metrics_labelled": last.labelled if last else 0,
        "annotators": {who: dict(counts.most_common()) for who, counts in _by_person(standing).items()},
        "last_event": standing.last_time,
    }


def _by_person(standing: Standing) -> dict[str, Counter[str]]:
    """Return how often each person said what, with their last word on each sample."""
    counts: dict[str, Counter[str]] = {}
    for sample in standing.samples.values():
        for who, label in {each.annotator: each.annotation for each in sample.said}.items():
            counts.setdefault(who, Counter())[_word(label, standing)] += 1
    return counts


def _word(label: Any, standing: Standing) -> str:
    if label is SKIP:
        return "skip"
    if standing.kind in ("class", "classes"):
        try:
            said = annotation_of(label, standing.classes)
        except (ValueError, TypeError):
            said = str(label)
        return "|".join(said) or "[]" if isinstance(said, list) else str(said)
    return "labels"


def text_of(status: dict[str, Any]) -> str:
    """Return a status as lines for people."""

    def number(value: float) -> str:
        return f"{value:g}" if value != int(value) else str(int(value))

    of_budget = "" if status["budget"] is None else f" of {number(status['budget'])}"
    metrics = metrics_in_words(status["metrics"])
    in_pixels = status["counts"] == PIXELS
    counted = f"{number(status['metrics_amount'])} {status['counts']}"
    rows = [
        ("labelled", f"{status['labelled']} of {status['samples']} samples" + ", at least in part" * in_pixels),
        ("pending", str(status["pending"])),
        ("skipped", str(status["skipped"])),
        ("spent", number(status["spent"]) + of_budget + " pixels" * in_pixels),
        ("rounds", str(status["rounds"])),
        (
            "metrics",
            f"{metrics}  (of {counted})" if status["rounds"] else "none yet",
        ),
    ]
    for who, counts in status["annotators"].items():
        few = list(counts.items())[:_MOST_CLASSES]
        said = ", ".join(f"{name} {count}" for name, count in few) + ", ..." * (len(counts) > len(few))
        rows.append((f"by {who or 'nobody named'}", f"{sum(counts.values())}: {said}"))
    rows.append(("last event", status["last_event"]))
    width = max(len(name) for name, _ in rows)
    return "\n".join([status["folder"], *(f"  {name.ljust(width)}  {value}" for name, value in rows)])


def print_status(dirpath: str, *, as_json: bool) -> None:
    """Print where a campaign stands."""
    status = status_of(dirpath)
    print(json.dumps(status) if as_json else text_of(status))
