"""CamVid (Brostow et al., 2009): street scenes from a driving car, by day and at dusk, eleven classes."""

from typing import Any

from torch.utils.data import DataLoader

from lightning_al.zoo.segmentation.images import (
    VOID,
    Sample,
    SegmentationDataModule,
    SegmentationFiles,
    folder_found,
)

CLASSES = (*("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),)
_CLASS_OF = {**{number: number for number in range(len(CLASSES))}, len(CLASSES): VOID}

DUSK = ("0001TP",)
"""How the names of files begin that were taken at dusk; the others are of the day."""

DAY = ("0006R0", "0016E5", "Seq05VD")


class CamVidDataModule(SegmentationDataModule):
    """CamVid with eleven classes, in the folders of SegNet's copy: 367 images to train on, 101 and 233 beside them.

    .. code-block:: text

        root/train/0001TP_006690.png     root/trainannot/0001TP_006690.png     and so on, with val and test

    Masks hold 0 to 10, and 11 where a pixel is void. Images may be PNG or JPEG.

    Args:
        root: Folder of the data.
        sequences: How the names of the files begin that are taken, in all three parts; ``"0001TP"`` is dusk. None: all.
        **options: Of :class:`SegmentationDataModule`.

    Raises:
        FileNotFoundError: In ``setup``, if a folder or the mask of an image is missing.
        ValueError: In ``setup``, if no image is of these sequences.
    """

    def __init__(
        self,
        root: str = "data/camvid",
        *,
        sequences: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.sequences = sequences

    def read_sets(self) -> dict[str, SegmentationFiles]:
        """List the files of all three parts."""
        return {part: self._read(part) for part in ("train", "val", "test")}

    def _read(self, part: str) -> SegmentationFiles:
        root = folder_found(self.root, part, f"{part}annot", what="`train`, `trainannot` and so on, as SegNet's CamVid")
        masks = {path.stem: path for path in (root / f"{part}annot").iterdir() if not path.name.startswith(".")}
        images = sorted(path for path in (root / part).iterdir() if not path.name.startswith("."))
        taken = [path for path in images if self.sequences is None or path.name.startswith(tuple(self.sequences))]
        # A domain may have no image in one of the parts: nothing of dusk is validated on.
        if not taken and part == "train":
            raise ValueError(
                f"No image in {root / part} begins with {' or '.join(map(repr, self.sequences or []))}: they are "
                f"{', '.join(sorted({path.name[:6] for path in images})) or 'none'}."
            )
        alone = [path for path in taken if path.stem not in masks]
        if alone:
            raise FileNotFoundError(f"{alone[0]} has no mask: {root / f'{part}annot' / alone[0].stem}.png is missing.")
        return SegmentationFiles(
            [str(path) for path in taken],
            [str(masks[path.stem]) for path in taken],
            root=str(root / part),
            classes=CLASSES,
            class_of=_CLASS_OF,
            size=self.size,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """In order, as they are; the validation images."""
        return self.loader("val")
