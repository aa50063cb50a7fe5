"""Another architecture trained on what a campaign picked (Wang et al., AAAI 2022, Table 6)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_al.campaign.campaign import Campaign
from lightning_al.report.diagnostics.diagnosis import Diagnosis
from lightning_al.report.diagnostics.pictures import Panel, add_point, curves
from lightning_al.report.diagnostics.rounds import rounds_kept

Train = Callable[[str, int, list[int]], Mapping[str, float]]
"""``train(campaign, round, indices) -> metrics``: trains another model on samples and evaluates it."""


def transfer(
    folders: Mapping[str, str | Path], train: Train, *, rounds: Sequence[int] | None = None
) -> list[Diagnosis]:
    """What another model makes of the labelled set of each round, beside what the campaign's own made of it.

    Args:
        folders: Of the campaigns, by the names that the table has for them. They need not have kept weights.
        train: Trains the other model on the samples of a round, from its initial weights, and returns its metrics.
        rounds: Which; -1 is the last. Default: all.

    Raises:
        FileNotFoundError: If there is no campaign in a folder.
        ValueError: If a round is none.
    """
    rows: list[list[Any]] = []
    panels: dict[str, Panel] = {}
    for name, folder in folders.items():
        events = Campaign.read_events(folder)
        results = {result.round: result for result in Campaign(folder, events).rounds}
        every = {each.number: each for each in rounds_kept(folder, events)}
        last = max(every, default=-1)
        for named in sorted(every) if rounds is None else rounds:
            number = named if named >= 0 else last + 1 + named
            if number not in every:
                raise ValueError(f"The campaign in {folder} has the rounds 0 to {last}, and no round {named}.")
            found = train(name, number, every[number].labelled.tolist())
            own = results[number].metrics
            for metric in sorted(found.keys() & own.keys()):
                rows.append([name, number, every[number].count, metric, own[metric], found[metric]])
                for who, value in ((name, own[metric]), (f"{name}, other model", found[metric])):
                    add_point(panels.setdefault(metric, {}), who, every[number].count, value)
    if not rows:
        raise ValueError("The other model has no metric that the campaigns have, so nothing compares.")
    header = ["campaign", "round", "labels", "metric", "own", "other model"]
    title = "Another model trained on the same labels"
    return [Diagnosis("transfer", title, header, rows, curves(panels, x="labels"))]
