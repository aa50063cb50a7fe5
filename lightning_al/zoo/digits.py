"""scikit-learn's bundled digits: 1,797 images of 8x8 pixels, on every machine, no download."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.extras import needs
from lightning_al.zoo.images import ImageDataModule, ImageDataset, Splits
from lightning_al.zoo.long_tail import long_tail


class DigitsDataModule(ImageDataModule):
    """scikit-learn's handwritten digits as (1, 8, 8) floats in [0, 1], ten classes.

    1,197 training images (the pool), 300 for validation, 300 for test, each with the classes in equal shares. The
    split depends on ``split_seed`` only.

    Args:
        batch_size: Images per training batch.
        eval_batch_size: Images per validation or test batch.
        num_workers: Loader processes.
        split_seed: Seed of the split. Keep it fixed over the repeats of an experiment.
        imbalance: Training images of the digit 0 over those of the digit 9: from digit to digit fewer are kept,
            exponentially (see :func:`~lightning_al.zoo.long_tail.long_tail`). The other images stay as they are.
            Default: 1, all of them.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` too, if nothing would be left of a digit.
        ImportError: In ``setup``, if scikit-learn is missing.

    Example:
        >>> data = DigitsDataModule()
        >>> data.setup()
        >>> image, label = data.pool_dataset()[0]
        >>> len(data.pool_dataset()), image.shape
        (1197, torch.Size([1, 8, 8]))
    """

    def __init__(
        self,
        batch_size: int = 10,
        eval_batch_size: int = 300,
        num_workers: int = 0,
        split_seed: int = 0,
        *,
        imbalance: float = 1.0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            findings.of(check_count, "split_seed", split_seed, 0)
            findings.of(check_number, "imbalance", imbalance, least=1)
        self.split_seed = split_seed
        self.imbalance = imbalance

    def read(self) -> Splits:
        """Load the bundled images and cut the split."""
        with needs("DigitsDataModule", "scikit-learn", "demo"):
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split

        images, targets = load_digits(return_X_y=True)
        images = torch.as_tensor(images, dtype=torch.uint8).view(-1, 1, 8, 8)
        targets = torch.as_tensor(targets)
        rest, test = train_test_split(range(len(images)), test_size=300, stratify=targets, random_state=self.split_seed)
        train, val = train_test_split(rest, test_size=300, stratify=targets[rest], random_state=self.split_seed)

        def part(indices: list[int], imbalance: float = 1.0) -> ImageDataset:
            rows = torch.as_tensor(sorted(indices))  # the file's own order
            rows = rows[long_tail(targets[rows], imbalance, self.split_seed)]
            return ImageDataset(images[rows], targets[rows], mean=[0.0], std=[16.0])  # 16 grey levels

        return Splits(train=part(train, self.imbalance), test=part(test), val=part(val))

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """300 images, in order."""
        return self.loader("val")
