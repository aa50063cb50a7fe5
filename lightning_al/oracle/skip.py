"""The answer that is no label, ``SKIP``, and the annotators that are nobody; without torch."""

from typing import Final

DATASET: Final = "dataset"
"""The annotator who reveals the dataset's own labels."""

ANOTHER_DATASET: Final = "another dataset"
"""The annotator who reveals those of another one."""

NOISY: Final = "noisy"
"""The annotator whose labels are flipped."""

SIMULATED: Final = frozenset({DATASET, ANOTHER_DATASET, NOISY})
"""The annotators that are nobody."""


class _Skip:
    """The class of :data:`SKIP`, which stays itself when it is sent to another process."""

    def __repr__(self) -> str:
        return "SKIP"

    def __reduce__(self) -> str:
        return "SKIP"


SKIP: Final = _Skip()
"""The answer of an annotator who will not label a sample; it is never asked for again."""
