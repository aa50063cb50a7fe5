"""One's own image files: a folder for each class, and a folder of files that nobody has labelled."""

from pathlib import Path

from torch import Tensor

from lightning_al.checks import Findings, check_count
from lightning_al.zoo.image_files import ImageFiles, class_names_in, image_files
from lightning_al.zoo.images import crop_and_flip
from lightning_al.zoo.own_files import NO_LABEL, OwnFilesDataModule, is_held_out


class ImageFolderDataModule(OwnFilesDataModule):
    """Labelled image files in a folder for each class, and unlabelled ones beside them.

    .. code-block:: text

        folder/labelled/cat/1.jpg      a folder of each class; it may be empty, and have folders in it
        folder/labelled/dog/5.JPG
        folder/unlabelled/7.jpg        what may be asked for; it may have folders in it

    Labels that are told stay with the campaign, their files where they are. Files may join, or be moved from
    ``unlabelled`` to the folder of a class, between two starts.

    Args:
        folder: Has the two folders.
        classes: Names of the classes, in order. Default: the folders in ``labelled``, sorted.
        val_share: The share of the labelled files that validate and never train: drawn by a hash of the name below the
            class's folder, so that a file stays where it is when others join. 0: there is no validation.
        size: Height and width of the images that the network gets.
        augmentation: Whether training images are mirrored and moved at random.
        batch_size: Images per training batch.
        eval_batch_size: Images per validation batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if there is no class, a file is in no class's folder, or
            a folder is of none of ``classes``.
        FileNotFoundError: In ``setup``, if there is no folder ``unlabelled``.
    """

    def __init__(
        self,
        folder: str,
        *,
        classes: list[str] | None = None,
        val_share: float = 0.0,
        size: int = 224,
        augmentation: bool = True,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(
                    classes=classes,
                    val_share=val_share,
                    batch_size=batch_size,
                    eval_batch_size=eval_batch_size,
                    num_workers=num_workers,
                )
            findings.of(check_count, "size", size)
        self.folder = folder
        self.size = size
        self.augmentation = augmentation

    def read_sets(self) -> dict[str, ImageFiles]:
        """List the files."""
        folder = Path(self.folder).expanduser()
        labelled, unlabelled = folder / "labelled", folder / "unlabelled"
        if not unlabelled.is_dir():
            raise FileNotFoundError(
                f"There is no folder {unlabelled}. Put the files that may be asked for there, and what is labelled in "
                f"{labelled}/CLASS."
            )
        classes = self._class_names(labelled)
        files = [(path, Path(path).relative_to(labelled).parts) for path in image_files(labelled)]
        loose = [path for path, parts in files if len(parts) == 1]
        if loose:
            raise ValueError(f"{loose[0]} is in no folder of a class. Put it into one, or into {unlabelled}.")
        split: dict[str, list[tuple[str, int]]] = {"train": [], "val": []}
        for path, (name, *below) in files:
            part = "val" if is_held_out("/".join(below), self.val_share) else "train"
            split[part].append((path, classes.index(name)))
        of_nobody = [(path, NO_LABEL) for path in image_files(unlabelled)]
        return {
            "unlabelled": ImageFiles(of_nobody, root=str(unlabelled), classes=classes, size=self.size),
            **{
                part: ImageFiles(samples, root=str(labelled), classes=classes, size=self.size)
                for part, samples in split.items()
            },
        }

    def _class_names(self, labelled: Path) -> list[str]:
        there = class_names_in(labelled) if labelled.is_dir() else []
        if self.named_classes is None and not there:
            raise ValueError(
                f"There are no classes yet. Make a folder of each in {labelled} (they may be empty), or say their "
                "names: `--data.classes=[cat,dog]`."
            )
        others = [name for name in there if self.named_classes is not None and name not in self.named_classes]
        if others:
            raise ValueError(
                f"{labelled / others[0]} is the folder of no class: they are {', '.join(self.named_classes or [])}. "
                "Rename it, or add it to the end of `classes`."
            )
        return there if self.named_classes is None else list(self.named_classes)

    def augment(self, sample: tuple[Tensor, int]) -> tuple[Tensor, int]:
        """Mirror every second image, and move it by up to an eighth of its width."""
        image, label = sample
        return (crop_and_flip(image, self.size // 8) if self.augmentation else image), label
