"""Images in which no box is kept: how many there are, said once if they are most."""

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_al.tasks.detection.kept import KeptBoxes


class ImagesSeen:
    """Counts images without a box, and says once if they are most."""

    def __init__(self) -> None:
        self.best = 0.0
        self._images = 0
        self._empty = 0
        self._said = False

    def count(self, kept: list[KeptBoxes], threshold: float, place: str) -> None:
        """Take note of these images."""
        self._images += len(kept)
        self._empty += sum(not len(each) for each in kept)
        if self._said or self._images < 16 or 2 * self._empty <= self._images:
            return
        self._said = True
        rank_zero_warn(
            f"{self._empty} of the first {self._images} images have no box that scores more than "
            f"`score_threshold={threshold}` (the best so far: {self.best:.3g}), so that they are placed "
            f'by `empty="{place}"`. Take a lower threshold, or train for longer before samples are asked for.'
        )
