"""Cityscapes (Cordts et al., CVPR 2016): streets of fifty cities, nineteen classes, and the sixteen SYNTHIA shares."""

from pathlib import Path
from typing import Any

from lightning_al.checks import check_that
from lightning_al.extras import needs
from lightning_al.zoo.segmentation.images import VOID, SegmentationDataModule, SegmentationFiles

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""In the order of the train ids."""

_NOT_IN_SYNTHIA = ("terrain", "truck", "train")
_HARD_IN_SYNTHIA = ("wall", "fence", "pole")


def class_names(count: int) -> list[str]:
    """Return the names of the 19 classes, of the 16 that SYNTHIA shares, or of the 13 without wall, fence and pole.

    Raises:
        TypeError: If it is none of these numbers.

    Example:
        >>> class_names(13)[:4]
        ['road', 'sidewalk', 'building', 'traffic light']
    """
    without = {19: (), 16: _NOT_IN_SYNTHIA, 13: _NOT_IN_SYNTHIA + _HARD_IN_SYNTHIA}
    check_that(count in without, "num_classes", count, "19, 16 (those that SYNTHIA shares) or 13")
    return [name for name in CLASSES if name not in without[count]]


class CityscapesDataModule(SegmentationDataModule):
    """Cityscapes with its fine masks, in the folders as torchvision reads them.

    .. code-block:: text

        root/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
        root/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png

    Masks are the ``labelIds``, turned into train ids; what has none, or is of no class that was asked for, does not
    count. 2,975 images to train on; the masks of the official test set are not public, so the 500 of ``val`` are the
    ``test_dataloader``, and there is no ``val_dataloader``: run the loop with ``evaluate="test"``.

    Args:
        root: Folder of the data.
        num_classes: 19; 16, those that SYNTHIA shares; or 13, these without wall, fence and pole.
        eval_batch_size: Images per test batch.
        **options: Others of :class:`SegmentationDataModule`; ``size`` of the files is 1024 by 2048.

    Raises:
        TypeError: If ``num_classes`` is none of these.
        FileNotFoundError: In ``setup``, if the folders are not there, which nobody may download for you.
        ImportError: In ``setup``, if torchvision is missing.
    """

    def __init__(
        self,
        root: str = "data/cityscapes",
        *,
        num_classes: int = 19,
        eval_batch_size: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(eval_batch_size=eval_batch_size, **options)
        self.root = root
        self.names = class_names(num_classes)

    def read_sets(self) -> dict[str, SegmentationFiles]:
        """List the files of ``train`` and of ``val``."""
        return {"train": self._read("train"), "test": self._read("val")}

    def _read(self, split: str) -> SegmentationFiles:
        with needs("Cityscapes", "torchvision", "vision"):
            from torchvision.datasets import Cityscapes
        root = Path(self.root).expanduser()
        try:
            listed = Cityscapes(root, split=split, mode="fine", target_type="semantic")
        except RuntimeError as error:
            raise FileNotFoundError(
                f"`root={self.root!r}` must hold `leftImg8bit` and `gtFine` of Cityscapes, with `{split}` in both; get "
                "them at https://www.cityscapes-dataset.com."
            ) from error
        order = sorted(range(len(listed)), key=lambda index: listed.images[index])
        known = {label.id: label.name for label in Cityscapes.classes if 0 <= label.train_id < len(CLASSES)}
        numbers = range(256)  # `license plate` has -1, which some tools write as 255
        class_of = {n: self.names.index(known[n]) if known.get(n) in self.names else VOID for n in numbers}
        return SegmentationFiles(
            [str(listed.images[index]) for index in order],
            [str(listed.targets[index][0]) for index in order],
            root=str(root / "leftImg8bit" / split),
            classes=self.names,
            class_of=class_of,
            size=self.size,
        )
