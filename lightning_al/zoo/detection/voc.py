"""Pascal VOC (Everingham et al.), and any data in its form: an XML file of boxes beside each image."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from lightning_al.checks import Findings, check_count
from lightning_al.tasks.detection.boxes import check_boxes
from lightning_al.words import cut, shown
from lightning_al.zoo.detection.data_module import BACKGROUND, DetectionDataModule
from lightning_al.zoo.detection.images import BoxedImage, DetectionFiles, read_each
from lightning_al.zoo.image_files import SUFFIXES

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Of Pascal VOC, in alphabetical order."""


_SIDES = ("xmin", "ymin", "xmax", "ymax")


class VOCDetectionDataModule(DetectionDataModule):
    """Pascal VOC, 20 classes: 16,551 images of 2007 and 2012 to train on, 4,952 of 2007 to test on. Or others alike.

    .. code-block:: text

        root/VOC2007/JPEGImages/000005.jpg     root/VOC2007/Annotations/000005.xml
        root/VOC2007/ImageSets/Main/trainval.txt, test.txt     the names, a line each, of what is in each part
        root/VOC2012/...

    Years may be any folders below ``root`` in this form: of data with ``root/JPEGImages`` and so on ``train`` is
    ``["trainval"]``, ``test`` is ``["test"]``. Images may be PNG too. What is marked as difficult is left out of
    training, and neither counts nor harms in a test.

    Args:
        root: Folder of the data.
        train: Which lists of names train, each of a year, ``"VOC2007/trainval"``; several are put together.
        test: Which lists are tested on; none, ``[]``, where nothing is tested.
        classes: Names of the classes. They are numbered from 1, after the background. Other names in the files are
            refused.
        first_pixel: Where the files begin to count pixels: 1 as VOC's own, of which the last pixel is then in a box, or
            0.
        **options: Of :class:`~lightning_al.zoo.detection.data_module.DetectionDataModule`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if boxes are none or of no class, with their file.
        FileNotFoundError: In ``setup``, if a folder, a list, or an image or its XML is missing.
    """

    def __init__(
        self,
        root: str = "data/VOCdevkit",
        *,
        train: Sequence[str] = ("VOC2007/trainval", "VOC2012/trainval"),
        test: Sequence[str] = ("VOC2007/test",),
        classes: Sequence[str] = CLASSES,
        first_pixel: int = 1,
        **options: Any,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(**options)
            findings.of(check_count, "first_pixel", first_pixel, 0, most=1)
        self.root = root
        self.parts = {"train": list(train), "test": list(test)}
        self.named_classes = [BACKGROUND, *classes]
        self.first_pixel = first_pixel

    def read_sets(self) -> dict[str, DetectionFiles]:
        """List images and boxes of both parts."""
        return {part: self._read(part) for part in self.parts}

    def _read(self, part: str) -> DetectionFiles:
        root = Path(self.root).expanduser()
        folders = [((root / name).parent, Path(name).name) for name in self.parts[part]]
        files = [(folder, file) for folder, list_ in folders for file in _listed(folder, list_)]
        images = read_each(
            partial(read_boxes, file, folder, self.named_classes, self.first_pixel) for folder, file in files
        )
        return self.dataset(part, images, root=root, classes=self.named_classes)


def _listed(folder: Path, part: str) -> list[str]:
    """Return the names in a list of VOC's, each a line."""
    file = folder / "ImageSets" / "Main" / f"{part}.txt"
    if not file.is_file():
        there = sorted(path.stem for path in file.parent.glob("*.txt")) if file.parent.is_dir() else []
        raise FileNotFoundError(
            f"There is no list {file}. "
            + (f"There are {shown(there)}." if there else "Is `root` another folder?")
            + " Name those that there are: `train=[...]`, `test=[...]`, which may be empty."
        )
    # The lists of a single class have 1, 0 or -1 behind each name.
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]


def read_boxes(name: str, folder: Path, classes: Sequence[str], first_pixel: int = 1) -> BoxedImage:
    """Return an image of VOC's and the boxes of its XML.

    Args:
        name: Of both files, without suffix.
        folder: Has ``JPEGImages`` and ``Annotations``.
        classes: Names, by class index.
        first_pixel: Where the files begin to count pixels.

    Raises:
        FileNotFoundError: If one of the two is missing.
        ValueError: If the XML is none, or a box is none or of no class, with the file.
    """
    file = folder / "Annotations" / f"{name}.xml"
    path = next((p for s in SUFFIXES if (p := folder / "JPEGImages" / f"{name}{s}").is_file()), None)
    if path is None or not file.is_file():
        missing = file if path else folder / "JPEGImages" / f"{name}.jpg"
        raise FileNotFoundError(f"There is no {missing}, and {name!r} is listed in {folder / 'ImageSets' / 'Main'}.")
    try:
        tree = ElementTree.parse(file).getroot()
        things = tree.findall("object")
        corners = [[float(thing.findtext(f"bndbox/{side}", "")) for side in _SIDES] for thing in things]
        boxes = torch.tensor(corners).reshape(-1, 4) - torch.tensor([first_pixel, first_pixel, 0, 0])
        labels = torch.tensor([_class_of(thing.findtext("name", "").strip(), classes) for thing in things]).long()
        check_boxes(boxes, labels, size=_size_in(tree))
    except (ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"{file}: {cut(error)}") from None
    ignored = torch.tensor([thing.findtext("difficult", "0").strip() == "1" for thing in things], dtype=torch.bool)
    return BoxedImage(str(path), boxes, labels, ignored)


def _size_in(tree: ElementTree.Element) -> tuple[int, int] | None:
    """Return height and width of the image, where a file says them; some say 0."""
    height, width = (int(tree.findtext(f"size/{side}", "").strip() or 0) for side in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def _class_of(name: str, classes: Sequence[str]) -> int:
    if name not in classes[1:]:
        raise ValueError(
            f"a box is of the class {name!r}, and there are {shown(list(classes[1:]))}. Name all of them in `classes`."
        )
    return classes.index(name, 1)
