"""scikit-learn's bundled diabetes data: a table of 442 patients, on every machine, no download."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

from lightning_al.extras import needs
from lightning_al.zoo.parts import PartsDataModule


class DiabetesDataModule(PartsDataModule):
    """Ten measurements of a patient, and how the disease went on a year later.

    Inputs are (10,) floats of unit variance, as scikit-learn scales them, targets (1,): the measure of 25 to 346
    less 150, over 75, which is about its mean and deviation. 282 rows for training (the pool), 80 for validation, 80
    for test; the split depends on ``split_seed`` only.

    Args:
        batch_size: Rows per training batch.
        num_workers: Loader processes.
        split_seed: Seed of the split. Keep it fixed over the repeats of an experiment.

    Raises:
        ImportError: In ``setup``, if scikit-learn is missing.

    Example:
        >>> data = DiabetesDataModule()
        >>> data.setup("fit")
        >>> row, target = data.pool_dataset()[0]
        >>> len(data.pool_dataset()), row.shape, target.shape
        (282, torch.Size([10]), torch.Size([1]))
    """

    def __init__(self, batch_size: int = 10, num_workers: int = 0, split_seed: int = 0) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=80, num_workers=num_workers)
        self.split_seed = split_seed

    def read_sets(self) -> dict[str, Subset[tuple[Tensor, ...]]]:
        """Load the bundled table and cut the split."""
        with needs("DiabetesDataModule", "scikit-learn", "demo"):
            from sklearn.datasets import load_diabetes

        x, y = (torch.as_tensor(values, dtype=torch.float64) for values in load_diabetes(return_X_y=True))
        table = TensorDataset((x * len(x) ** 0.5).float(), ((y - 150) / 75).float().unsqueeze(1))
        cut = torch.Generator().manual_seed(self.split_seed)
        return dict(zip(("train", "val", "test"), random_split(table, [282, 80, 80], generator=cut), strict=True))

    def pool_dataset(self) -> torch.utils.data.Dataset:
        """The training rows."""
        return self.sets["train"]

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """80 rows, in order."""
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """80 rows, in order."""
        return self.loader("test")
