"""What a ledger knows of samples that nobody is asked for: those that are gone, and a training set beside the pool."""

from typing import Any, NamedTuple


class Gone(NamedTuple):
    """A sample that the dataset has no more: its key, what it was, with which label, and whether that is a part."""

    key: str | None
    state: str
    label: Any = None
    cost: float = 0.0
    in_part: bool = False


class Known(NamedTuple):
    """The training set beside a pool: how many samples it has, and a hash of which they are."""

    size: int = 0
    digest: str = ""
