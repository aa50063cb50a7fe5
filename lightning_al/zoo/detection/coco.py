"""Data in COCO's form (Lin et al., 2014): folders of images, and a JSON file of boxes for each."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_al.tasks.detection.boxes import check_boxes
from lightning_al.words import cut, shown
from lightning_al.zoo.detection.data_module import BACKGROUND, DetectionDataModule
from lightning_al.zoo.detection.images import BoxedImage, DetectionFiles, read_each


class COCODetectionDataModule(DetectionDataModule):
    """COCO, or others alike: a JSON file with ``images``, ``annotations`` and ``categories`` for each part.

    .. code-block:: text

        root/train2017/000000000009.jpg     root/annotations/instances_train2017.json     and so on, with val2017

    Boxes are (left, top, width, height) in the files, from pixel 0. Crowds are left out of training, and neither count
    nor harm in a test; so are boxes without a width or height left out of both. An image that is listed and has no
    annotation has no boxes, and trains as such.

    Args:
        root: Folder of the data.
        train: Folder of the training images, and its JSON file, below ``root``.
        test: The same of the test; COCO's own are tested on with ``val2017``. None: nothing is tested.
        classes: Names of the classes, which are numbered from 1, after the background; others in the files are refused.
            None: all categories of the training file, in the order of their ids.
        **options: Of :class:`~lightning_al.zoo.detection.data_module.DetectionDataModule`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if a file is none of COCO's, or boxes are none or of no
            class, with their image.
        FileNotFoundError: In ``setup``, if a file is missing.
    """

    def __init__(
        self,
        root: str = "data/coco",
        *,
        train: tuple[str, str] = ("train2017", "annotations/instances_train2017.json"),
        test: tuple[str, str] | None = ("val2017", "annotations/instances_val2017.json"),
        classes: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.parts = {"train": (train[0], train[1])} | ({} if test is None else {"test": (test[0], test[1])})
        self.named_classes = None if classes is None else list(classes)

    def read_sets(self) -> dict[str, DetectionFiles]:
        """List images and boxes of both parts."""
        root = Path(self.root).expanduser()
        files = {part: read_coco(root / file) for part, (_, file) in self.parts.items()}
        classes = self.named_classes
        if classes is None:
            categories = sorted(files["train"]["categories"], key=lambda category: int(category["id"]))
            classes = [str(category["name"]) for category in categories]
        classes = [BACKGROUND, *classes]
        sets = {}
        for part, (folder, file) in self.parts.items():
            images = boxes_of(files[part], root / folder, classes, where=str(root / file))
            sets[part] = self.dataset(part, images, root=root / folder, classes=classes)
        sets.setdefault("test", self.dataset("test", [], root=root, classes=classes))
        return sets


def read_coco(path: Path) -> dict[str, Any]:
    """Return what is in a file of COCO's.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is none of COCO's.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. Is `root` another folder? Name its files: `train=(FOLDER, FILE)`, and `test=`, "
            "which may be None."
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {cut(error, 200)}; is the file whole?") from None
    needed = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in needed):
        raise ValueError(f"{path} must have lists of {', '.join(needed)}, as COCO's files; got {shown(content)}.")
    return content


def boxes_of(content: dict[str, Any], folder: Path, classes: Sequence[str], *, where: str) -> list[BoxedImage]:
    """Return the images of a file of COCO's with their boxes, in the file's order.

    Args:
        content: Of the file.
        folder: Has the images.
        classes: Names, by class index; the first is the background.
        where: The file, for messages.

    Raises:
        ValueError: If something is missing, or a box is none or of no class, with its image.
    """
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        annotations: dict[Any, list[Any]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            left, top, width, height = annotation["bbox"]
            if width > 0 and height > 0:
                corners = [left, top, left + width, top + height]
                crowd = bool(annotation.get("iscrowd", 0))
                annotations[annotation["image_id"]].append((corners, names[annotation["category_id"]], crowd))
        images = [(str(image["file_name"]), annotations[image["id"]], _size_of(image)) for image in content["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not as COCO's: {type(error).__name__} of {cut(error, 200)}.") from None
    return read_each(partial(_boxed, folder / name, own, classes, size) for name, own, size in images)


def _size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    """Return height and width of an image, where the file says them."""
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _boxed(path: Path, annotations: list[Any], classes: Sequence[str], size: tuple[int, int] | None) -> BoxedImage:
    unknown = [name for _, name, _ in annotations if name not in classes[1:]]
    if unknown:
        raise ValueError(
            f"{path}: a box is of the class {unknown[0]!r}, and there are {shown(list(classes[1:]))}. Name all of them "
            "in `classes`."
        )
    boxes = torch.tensor([corners for corners, _, _ in annotations], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([classes.index(name, 1) for _, name, _ in annotations], dtype=torch.long)
    try:
        check_boxes(boxes, labels, size=size)
    except ValueError as error:
        raise ValueError(f"{path}: {cut(error)}") from None
    return BoxedImage(str(path), boxes, labels, torch.tensor([crowd for *_, crowd in annotations], dtype=torch.bool))
