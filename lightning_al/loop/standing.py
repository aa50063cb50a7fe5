"""What state a loop is in, in words: before its campaign, in it, and after it."""

from html import escape
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.history import History
from lightning_al.data.pool import Pool
from lightning_al.drawing.markup import Html, joined, tag
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings
from lightning_al.words import counted


class SaysItsState:
    """A loop whose ``repr`` says what state it is in, which never fails."""

    settings: Settings
    dirpath: Path | None
    status: str
    campaign: Campaign | None
    session: Session | None
    say = staticmethod(rank_zero_info)
    """What the last line of a run and of a question is said with."""

    @property
    def label_count(self) -> int:
        """How many samples are labelled, a training set beside an ``unlabelled_dataset()`` included."""
        return len(self.pool.labelled) + (0 if self.campaign is None else self.campaign.beside.size)

    @property
    def pool(self) -> Pool:
        """Which dataset indices are in which state."""
        raise NotImplementedError

    @property
    def history(self) -> History:
        """What each round yielded so far."""
        raise NotImplementedError

    def __repr__(self) -> str:
        try:
            return f"{type(self).__name__}({'; '.join(self._state())})"
        except Exception:  # a debugger shows loops that are half made, and folders may be gone
            return object.__repr__(self)

    def _repr_html_(self) -> str:
        try:
            return joined([tag("p", repr(self)), Html(self.history._repr_html_()) if self.history else None])
        except Exception:
            return escape(object.__repr__(self))

    def _state(self) -> list[str]:
        settings, campaign = self.settings, self.campaign
        folder = [] if self.dirpath is None else [str(self.dirpath)]
        if campaign is None:
            begun = self.dirpath is not None and Campaign.exists(self.dirpath)
            state = "not opened yet, a campaign is in its folder" if begun else "not started"
            return [state, *_plan(settings), f"labels from {type(settings.oracle).__name__}", *folder]
        names = ("unlabelled", "pending", "labelled", "skipped")
        counts = dict(zip(names, self.pool.counts(), strict=True))
        known = [f"{len(self.pool.known)} known beside them"] if len(self.pool.known) else []
        order = ("labelled", "pending", "skipped", "unlabelled")
        shown = ", ".join([*(f"{counts[name]} {name}" for name in order), *known])
        acquisition = [type(self.session.project.acquisition).__name__] if self.session is not None else []
        return [*self._where(campaign, counts["pending"]), shown, *acquisition, *folder]

    def _where(self, campaign: Campaign, pending: int) -> list[str]:
        rounds = self.settings.rounds
        of = "" if rounds is None else f" of {rounds}"
        if self.status == "finished":
            return [f"finished after round {campaign.next_round}{of}"]
        if pending:
            last = campaign.next_round - 1
            question = "the initial set" if last < 0 else f"round {last}{of}"
            whom = type(self.settings.oracle).__name__
            return [f"{question}, waiting for {counted(pending, 'label')} from {whom}"]
        return [f"round {campaign.next_round}{of}, not finished"]


def _plan(settings: Settings) -> list[str]:
    """Say what is to be done."""
    if isinstance(settings.initial, str):
        first = "all labels"
    else:
        first = f"{counted(settings.initial_count(0), 'label')} first"
    each = f"{settings.query_size:g} a round"
    rounds = [] if settings.rounds is None else [counted(settings.rounds, "round")]
    budget = [] if settings.budget is None else [f"a budget of {settings.budget:g}"]
    return [", ".join([first, each, *rounds, *budget])]
