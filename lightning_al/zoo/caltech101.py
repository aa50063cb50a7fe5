"""Caltech-101 (Fei-Fei et al., 2004): 8,677 photographs of 101 classes of 31 to 800, most of about 300x200 pixels."""

from pathlib import Path
from typing import Any

from lightning_al.zoo.class_folders import ClassFoldersDataModule
from lightning_al.zoo.image_files import Samples, class_folders

NAME = "101_ObjectCategories"
CLUTTER = "BACKGROUND_Google"
"""The folder that is of no class."""


class Caltech101DataModule(ClassFoldersDataModule):
    """Caltech-101 as (3, 200, 300) floats, normalised; 5,800 are the pool, 2,877 are tested on, as in LPLgrad.

    From https://data.caltech.edu/records/mzrjq-6wc02, 137 MB (MD5 3138e1922a9193bfa496528edbbc45d0 of caltech-101.zip,
    which has 101_ObjectCategories.tar.gz in it). Licence: CC BY 4.0.

    .. code-block:: text

        root/101_ObjectCategories/accordion/image_0001.jpg
        root/caltech101/101_ObjectCategories/accordion/image_0001.jpg      or so, as torchvision has it

    ``BACKGROUND_Google`` is left out: it is no class. There is no published split. LPLgrad tells the two sizes, and no
    more; which images are tested on is ours: a share of 0.3316 by a hash of their names. The papers use the original
    ResNet-18: ``ResNet18(num_classes=101, stem="7x7")``.

    Args:
        root: Folder of the data.
        test_share: As of :class:`ClassFoldersDataModule`.
        size: Height and width of the images that the network gets.
        **options: As there.
    """

    def __init__(
        self,
        root: str = "data",
        *,
        test_share: float = 0.3316,
        size: int | tuple[int, int] = (200, 300),
        **options: Any,
    ) -> None:
        super().__init__(root, test_share=test_share, size=size, **options)

    def folder(self) -> Path:
        """Return the folder of the class folders."""
        root = super().folder()
        places = (root / NAME, root / "caltech101" / NAME)
        return next((place for place in places if place.is_dir()), places[0])

    def layout(self) -> str:
        """What the folder must hold."""
        return f"`{NAME}` or `caltech101/{NAME}`, the folders of the 101 classes."

    def list_classes(self, folder: Path) -> tuple[list[str], Samples]:
        """Return the names of the classes, and their files, without the folder that is no class."""
        return class_folders(folder, leave_out=(CLUTTER,))
