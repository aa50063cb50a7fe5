"""What was labelled, unlabelled and picked in each round of a campaign, and where its weights are: from its ledger."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.campaign.states import KEPT, state_file
from lightning_al.distributed.randomness import generator
from lightning_al.report.tables import thinned

MOST_SHOWN = 4
"""Rounds of a campaign that have a panel of their own."""
_HOW_TO_KEEP = "Weights are kept by `keep_weights=True` (`--loop.keep_weights=true`) from the first round on."


@dataclass
class KeptRound:
    """One round, by dataset indices as they are today.

    Args:
        number: From 0.
        count: How many labels the model was trained on, known samples beside the pool included.
        labelled: What is labelled of the pool, in the order in which labels came.
        candidates: What was unlabelled, in the random order in which the query drew its sub-pool.
        subpool: How many of these, from the first on, were scored.
        picked: What was asked for, best first; empty in the last round.
        files: Where the model may be, the first that is there counts.
    """

    number: int
    count: int
    labelled: Tensor
    candidates: Tensor
    subpool: int
    picked: Tensor
    files: Sequence[Path]

    @property
    def scored(self) -> Tensor:
        """The candidates that the query scored."""
        return self.candidates[: self.subpool]

    @property
    def file(self) -> Path | None:
        """Where the weights are; None if they were not kept."""
        return next((path for path in self.files if path.is_file()), None)

    def ask(self, candidates: Tensor, picked: Tensor) -> None:
        """Take note of what was picked of which candidates; picks are among those that were scored."""
        drawn = candidates[: self.subpool]
        unseen = picked[~torch.isin(picked, drawn)]  # where an earlier version drew others
        self.candidates = torch.cat([unseen, candidates[~torch.isin(candidates, unseen)]])
        self.picked = picked

    def move(self, places: dict[int, int]) -> None:
        """Take note of where samples are now, by where they were; those that are gone are left out."""

        def moved(indices: Tensor) -> Tensor:
            now = [places.get(index, index) for index in indices.tolist()]
            return torch.tensor([index for index in now if index >= 0], dtype=torch.long)

        scored = len(moved(self.scored))
        self.labelled, self.candidates, self.picked = map(moved, (self.labelled, self.candidates, self.picked))
        self.subpool = scored


def rounds_kept(dirpath: str | Path, events: list[Event]) -> list[KeptRound]:
    """Return the rounds of a campaign that were fitted, oldest first.

    Args:
        dirpath: Its folder.
        events: Its ledger's, and one that says what moved since, if anything did.
    """
    campaign = Campaign(dirpath, events[:1])
    options = campaign.options
    rounds: dict[int, KeptRound] = {}

    def candidates(number: int) -> Tensor:
        return campaign.pool.candidates(generator=generator(options["seed"], number, "candidates"))

    for event in events[1:]:
        number = event.get("round", -1)
        if event["kind"] == "asked" and number in rounds:
            rounds[number].ask(candidates(number), torch.tensor(event["indices"], dtype=torch.long))
        campaign.apply(event)
        if event["kind"] == "fitted":
            files = [campaign.dirpath / state_file(name, event) for name in (KEPT, "weights")]
            drawn = candidates(number)
            rounds[number] = KeptRound(
                number=number,
                count=event["labelled"],
                labelled=campaign.pool.labelled,
                candidates=drawn,
                subpool=len(drawn[: options.get("subpool_size")]),
                picked=torch.empty(0, dtype=torch.long),
                files=files,
            )
        elif event["kind"] == "moved":
            places = dict(zip(event["indices"], event["now"], strict=True))
            for each in rounds.values():
                each.move(places)
    return [rounds[number] for number in sorted(rounds)]


def chosen_rounds(
    dirpath: str | Path, rounds: Sequence[KeptRound], numbers: Sequence[int] | None = None
) -> list[KeptRound]:
    """Return the rounds that are to be looked at, all of which have their weights.

    Args:
        dirpath: The campaign's folder.
        rounds: All of them.
        numbers: Which; -1 is the last, -2 the one before. None: all that have their weights.

    Raises:
        ValueError: If none is named, a round is none, or its weights were not kept, with how to keep them.
    """
    if not rounds:
        raise ValueError(f"The campaign in {dirpath} has no round that was fitted: there is nothing to look at yet.")
    if numbers is None:
        there = [each for each in rounds if each.file is not None]
        if len(there) <= 1 < len(rounds):
            last = rounds[-1].number
            alone = f" That of the last round is there: `rounds=[{last}]` (`--rounds={last}`) looks at it alone."
            raise ValueError(
                f"The campaign in {dirpath} did not keep the weights of its {len(rounds)} rounds. {_HOW_TO_KEEP}"
                + alone * bool(there)
            )
        if not there:
            raise ValueError(f"The weights of the campaign in {dirpath} are gone. {_HOW_TO_KEEP}")
        return there
    by_number = {each.number: each for each in rounds}
    last = rounds[-1].number
    if not numbers:
        raise ValueError(f"No round is named: the campaign in {dirpath} has the rounds 0 to {last}.")
    wanted = [number if number >= 0 else last + 1 + number for number in numbers]
    missing = [number for number, place in zip(numbers, wanted, strict=True) if place not in by_number]
    if missing:
        raise ValueError(f"The campaign in {dirpath} has the rounds 0 to {last}, and no round {missing[0]}.")
    without = [number for number in wanted if by_number[number].file is None]
    if without:
        raise ValueError(f"The weights of round {without[0]} in {dirpath} were not kept. {_HOW_TO_KEEP}")
    return [by_number[number] for number in sorted(set(wanted))]


def spread(rounds: Sequence[KeptRound], most: int = MOST_SHOWN) -> list[KeptRound]:
    """Return at most so many rounds, evenly from the first to the last."""
    return thinned(rounds, most)


def check_some(found: Sized, what: str) -> None:
    """Refuse to show nothing.

    Args:
        found: What there is to show.
        what: Of the rounds looked at, what none of them did.

    Raises:
        ValueError: If there is nothing.
    """
    if not len(found):
        raise ValueError(
            f"None of the rounds looked at {what}, so there is nothing to show. Look at others: `rounds=` (`--rounds`)."
        )
