"""Images in which no box counts: where they come among the others, and what is said if there are many."""

from collections.abc import Iterable

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

PLACES = ("last", "first", "random")
"""Where images without a box come among the candidates."""

_ENOUGH_TO_TELL = 16  # images


def scores_with_places(scores: Tensor, without: Tensor, place: str, draws: Tensor) -> Tensor:
    """Return scores in which images without a box come ``place`` among the others.

    Args:
        scores: Of all candidates, (N,); where all are without a box they stay.
        without: Which of them are without a box, (N,).
        place: ``"last"``, below the least of the others (not below 0, where that is 0), ``"first"``, above the largest,
            or ``"random"``, each with the score of one of the others that is drawn.
        draws: From [0, 1), (N,).

    Example:
        >>> scores, without = torch.tensor([3.0, 0.0, 5.0]), torch.tensor([False, True, False])
        >>> scores_with_places(scores, without, "random", torch.tensor([0.1, 0.7, 0.2]))
        tensor([3., 5., 5.])
    """
    others = scores[~without].sort().values
    if without.all() or not without.any():
        return scores
    if place == "random":
        own = others[(draws[without] * len(others)).long().clamp(max=len(others) - 1)]
    elif place == "first":
        own = torch.nextafter(others[-1], others.new_tensor(torch.inf))
    else:
        own = torch.nextafter(others[0], others.new_tensor(-torch.inf)) if others[0] != 0 else others[0]
    return scores.masked_scatter(without, own.expand(int(without.sum())))


class WithoutBoxes:
    """Refuses candidates of which none has a box, and says once if most have none."""

    def __init__(self) -> None:
        self._best = 0.0  # of the boxes that were seen since the last candidates
        self._said = False

    def note(self, of_images: Iterable[Tensor]) -> None:
        """Take note of the scores of all boxes of some images."""
        self._best = max([self._best, *(float(scores.detach().max()) for scores in of_images if len(scores))])

    def look_at(self, without: Tensor, *, threshold: float, place: str) -> None:
        """Say once if most candidates are without a box.

        Args:
            without: Which ones, (N,).
            threshold: What boxes must score more than.
            place: Where such images come.

        Raises:
            ValueError: If all of 16 or more are, and ``place`` is not ``"random"``.
        """
        best, self._best = self._best, 0.0
        images, count = len(without), int(without.sum())
        if images < _ENOUGH_TO_TELL or 2 * count <= images:
            return
        seen = f"more than `score_threshold={threshold}` (the best seen: {best:.3g})"
        if count == images and place != "random":
            raise ValueError(
                f"None of {images} candidates has a box that scores {seen}, so that nothing tells them apart. Take a "
                "lower threshold, train for longer before samples are asked for (more epochs, a larger `initial=`), or "
                'let `DetectionTask(empty="random")` draw such images at random.'
            )
        if not self._said:
            self._said = True
            rank_zero_warn(
                f"{count} of {images} candidates have no box that scores {seen}, so that they are placed by "
                f'`empty="{place}"`. Take a lower threshold, or train for longer before samples are asked for.'
            )
