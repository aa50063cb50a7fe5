"""SYNTHIA (Ros et al., CVPR 2016), RAND-CITYSCAPES: 9,400 rendered streets with the classes of Cityscapes."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from lightning_al.checks import check_count
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.keys import name_of
from lightning_al.zoo.segmentation.cityscapes import class_names
from lightning_al.zoo.segmentation.images import (
    VOID,
    Sample,
    SegmentationDataModule,
    SegmentationFiles,
    folder_found,
)

NUMBERS = {
    **{"road": 3, "sidewalk": 4, "building": 2, "wall": 21, "fence": 5, "pole": 7, "traffic light": 15},
    **{"traffic sign": 9, "vegetation": 6, "terrain": 16, "sky": 1, "person": 10, "rider": 17, "car": 8},
    **{"truck": 18, "bus": 19, "train": 20, "motorcycle": 12, "bicycle": 11},
}
"""Of the classes of Cityscapes, in SYNTHIA's masks."""

RECOUNT = 3000
"""After so many draws the shares of classes are counted anew."""


class SYNTHIADataModule(SegmentationDataModule):
    """SYNTHIA-RAND-CITYSCAPES with the classes that Cityscapes has too.

    .. code-block:: text

        root/RGB/0000000.png     root/GT/LABELS/0000000.png

    ``root`` is the folder ``RAND_CITYSCAPES``, or the one that it is in. Masks are PNGs of 16 bits with three channels:
    the number of the class, that of the thing, nothing. Numbers of other classes do not count.

    All images train; there is no test set. It is the labelled source beside an unlabelled target, see
    :class:`~lightning_al.zoo.TwoDomainsDataModule`.

    Args:
        root: Folder of the data.
        num_classes: 16; 13, without wall, fence and pole; or the 19 of Cityscapes, of which three never occur.
        balanced: None: each image once. A count: that many draws of images in which rare classes come more often, as
            in RIPU's code, drawn once, the same at each start; see :func:`balanced_draws`.
        classes_seen: A file, which says which of the 19 classes each image has; it is made where it is not there yet,
            or of other images, in some minutes. Needed by ``balanced``.
        size: As of :class:`SegmentationDataModule`; of the files 760 by 1280.
        augmentation: As of :class:`SegmentationDataModule`.
        batch_size: Images per training batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If ``num_classes`` is none of these.
        ValueError: If ``balanced`` lacks ``classes_seen``.
        FileNotFoundError: In ``setup``, if a folder, or the mask of an image, is missing.
    """

    def __init__(
        self,
        root: str = "data/synthia",
        *,
        num_classes: int = 16,
        balanced: int | None = None,
        classes_seen: str | None = None,
        size: tuple[int, int] | None = None,
        augmentation: list[nn.Module] | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size=size, augmentation=augmentation, batch_size=batch_size, num_workers=num_workers)
        check_count("balanced", balanced, optional=True)
        if balanced is not None and classes_seen is None:
            raise ValueError(
                f"`balanced={balanced}` needs to know the classes of each image, which takes minutes to find out: say "
                "in `classes_seen` the file, such as `data/synthia_classes.json`, that keeps them."
            )
        self.root = root
        self.names = class_names(num_classes)
        self.balanced = balanced
        self.classes_seen = classes_seen

    def prepare_data(self) -> None:
        """Find out the classes of each image, if they are needed and not known yet."""
        if self.balanced is not None:
            self._seen()

    def read_sets(self) -> dict[str, Any]:
        """List the files, and draw from them if they are drawn."""
        files = self._files()
        if self.balanced is None:
            return {"train": files}
        seen = self._seen()
        of_rows = [
            [self.names.index(name) for name in seen[Path(path).name] if name in self.names] for path in files.paths
        ]
        return {"train": Drawn(files, balanced_draws(of_rows, self.balanced, num_classes=len(self.names)))}

    def _files(self, names: Sequence[str] | None = None) -> SegmentationFiles:
        """Return the images and their masks, of these classes; default those that were asked for."""
        names = self.names if names is None else names
        inside = Path(self.root).expanduser() / "RAND_CITYSCAPES"
        root = folder_found(
            str(inside) if inside.is_dir() else self.root, "RGB", "GT/LABELS", what="`RGB` and `GT/LABELS` of SYNTHIA"
        )
        images = sorted(path for path in (root / "RGB").iterdir() if path.suffix == ".png")
        masks = [root / "GT" / "LABELS" / path.name for path in images]
        there = {path.name for path in (root / "GT" / "LABELS").iterdir()}
        missing = [mask for mask in masks if mask.name not in there]
        if missing or not images:
            raise FileNotFoundError(f"{missing[0]} is missing." if missing else f"{root / 'RGB'} holds no PNG.")
        class_of = dict.fromkeys(range(256), VOID)
        class_of.update({NUMBERS[name]: index for index, name in enumerate(names)})
        return SegmentationFiles(
            [str(path) for path in images],
            [str(path) for path in masks],
            root=str(root / "RGB"),
            classes=names,
            class_of=class_of,
            size=self.size,
        )

    def _seen(self) -> dict[str, list[str]]:
        """Return the names of the classes in each image, by the name of its file."""
        kept, names = Path(str(self.classes_seen)).expanduser(), list(NUMBERS)
        files = self._files(names)
        images = [Path(path).name for path in files.paths]
        if kept.is_file():
            said = json.loads(kept.read_text())
            if said.get("classes") == names and said["images"].keys() >= set(images):
                seen: dict[str, list[str]] = said["images"]
                return seen
        seen = {}
        for index, image in enumerate(images):
            there = files.mask(index).unique().tolist()
            seen[image] = [names[number] for number in there if number != VOID]
        with atomic_write(kept) as file:
            file.write(json.dumps({"classes": names, "images": seen}).encode())
        return seen


def balanced_draws(classes_of: Sequence[Sequence[int]], count: int, *, num_classes: int, seed: int = 0) -> list[int]:
    """Draw images so that rare classes come more often, as RIPU's code does for SYNTHIA.

    A draw is of a class, with probability in proportion to ``1 / log(1.01 + share)``, then the next image that has it,
    of all in random order, shuffled anew when they are through. The share of a class is that of its occurrences among
    those of all classes in the images drawn so far, counted anew every 3,000 draws.

    Args:
        classes_of: The classes of each image.
        count: Number of draws.
        num_classes: Number of classes; those in no image are not drawn. (Theirs would fail.)
        seed: Of the draws.

    Returns:
        Rows of ``classes_of``, with repetitions.

    Raises:
        ValueError: If no image has a class.

    Example:
        >>> draws = balanced_draws([[0]] * 99 + [[0, 1]], 1000, num_classes=2)  # one of a hundred has class 1
        >>> 300 < draws.count(99) < 700
        True
    """
    with_class = [[row for row, classes in enumerate(classes_of) if c in classes] for c in range(num_classes)]
    if not any(with_class):
        raise ValueError("No image has any of the classes, so none can be drawn.")
    generator = torch.Generator().manual_seed(seed)
    waiting: list[list[int]] = [[] for _ in with_class]
    draws: list[int] = []
    counts = [0] * num_classes
    while len(draws) < count:
        if len(draws) % RECOUNT == 0:
            counts = [0] * num_classes
        total = max(sum(counts), 1)
        weights = [1 / math.log(1.01 + n / total) if rows else 0.0 for n, rows in zip(counts, with_class, strict=True)]
        drawn = int(torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=generator))
        if not waiting[drawn]:
            order = torch.randperm(len(with_class[drawn]), generator=generator).tolist()
            waiting[drawn] = [with_class[drawn][place] for place in order]
        row = waiting[drawn].pop()
        draws.append(row)
        for c in set(classes_of[row]):
            counts[c] += 1
    return draws


class Drawn(Dataset[Sample]):
    """Samples of a dataset by a list of rows, in which rows may come several times.

    Args:
        dataset: Map-style, with ``classes``.
        rows: Of the dataset.
    """

    def __init__(self, dataset: Any, rows: Sequence[int]) -> None:
        self.dataset = dataset
        self.rows = list(rows)
        self.classes = dataset.classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.dataset[self.rows[index]]
        return sample

    def sample_key(self, index: int) -> str:
        """Return the name of the image and which draw it is, so that each has one of its own."""
        return f"{name_of(self.dataset, self.rows[index])}#{index}"
