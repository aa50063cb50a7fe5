"""The comprehensive disaster dataset (Niloy et al., ICPR 2020): photographs of five kinds of damage and of none."""

from pathlib import Path
from typing import Any

from lightning_al.zoo.class_folders import ClassFoldersDataModule

NAME = "Comprehensive Disaster Dataset(CDD)"


class DisasterDataModule(ClassFoldersDataModule):
    """The comprehensive disaster dataset (CDD) as (3, 32, 32) floats, normalised; a fifth is tested on, as in LPLgrad.

    From https://www.kaggle.com/datasets/varpit94/disaster-images-dataset, the copy that LPLgrad names (some 13,500
    files; LPLgrad counts 8,591 + 2,142, and does not say which), or the authors', https://niloy193.github.io/Disaster-Dataset.
    MD5 sums are not published. Licence: not stated by the authors, who collected images from news portals and social
    media; see the page.

    .. code-block:: text

        root/Damaged_Infrastructure/Earthquake/01_01_0001.png     root/Fire_Disaster/...     root/Human_Damage/...
        root/Land_Disaster/...     root/Non_Damage/...     root/Water_Disaster/...

    ``root`` may also be the folder above, with the folder ``Comprehensive Disaster Dataset(CDD)`` in it. The six
    folders are the classes, whatever folders are in them. All files are read at the start, some minutes, and kept as
    bytes of 32x32. Which are tested on is ours: a fifth by a hash of their names.

    Args:
        root: Folder of the data.
        test_share: As of :class:`ClassFoldersDataModule`.
        size: Height and width of the images that the network gets.
        in_memory: As of :class:`ClassFoldersDataModule`. Without, a file that cannot be read is named where it is asked
            for, and passed over with ``loop.skip_unreadable``.
        **options: As there.
    """

    def __init__(
        self,
        root: str = "data/disasters",
        *,
        test_share: float = 0.2,
        size: int | tuple[int, int] = 32,
        in_memory: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(root, test_share=test_share, size=size, in_memory=in_memory, **options)

    def folder(self) -> Path:
        """Return the folder of the class folders."""
        root = super().folder()
        return root / NAME if (root / NAME).is_dir() else root

    def layout(self) -> str:
        """What the folder must hold."""
        return f"the folders of the six classes, or `{NAME}` with them in it."
