"""The answer that is no label, ``SKIP``; without torch."""

from typing import Final


class _Skip:
    """The class of :data:`SKIP`, which stays itself when it is sent to another process."""

    def __repr__(self) -> str:
        return "SKIP"

    def __reduce__(self) -> str:
        return "SKIP"


SKIP: Final = _Skip()
"""The answer of an annotator who will not label a sample; it is never asked for again."""
