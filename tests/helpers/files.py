"""A project whose samples are small files in a folder, of which nothing but the names says what they are."""

from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from tests.helpers.projects import make_data

CLASSES = ["cat", "dog", "a fox"]


def fill(folder, numbers):
    """Write samples as text files, below two folders."""
    x = make_data(200)[0]
    for number in numbers:
        path = Path(folder) / "ab"[number % 2] / f"{number:03d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(map(str, x[number].tolist())))


def truth(key):
    """What a person would say of a file."""
    return CLASSES[int(make_data(200)[1][int(Path(key).stem)])]


class Folder(Dataset):
    """Files without labels, in the order of their names or in another."""

    classes = CLASSES

    def __init__(self, root, backwards=False):
        self.root = str(root)
        self.paths = sorted((str(path) for path in Path(root).rglob("*.txt")), reverse=backwards)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        numbers = [float(number) for number in Path(self.paths[index]).read_text().split()]
        return torch.tensor(numbers, dtype=torch.float64), -1


class FolderData(L.LightningDataModule):
    """Such a folder to train on."""

    def __init__(self, root: str, backwards: bool = False):
        super().__init__()
        self.root, self.backwards = root, backwards

    def pool_dataset(self):
        return Folder(self.root, self.backwards)

    def train_dataloader(self):
        return DataLoader(self.pool_dataset(), batch_size=4, shuffle=True)


RECIPE = """
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: {acquisition}
model:
  class_path: tests.helpers.projects.Net
data:
  class_path: tests.helpers.files.FolderData
  init_args:
    root: {folder}/pool
loop:
  initial: 4
  query_size: 3
  evaluate: null
  oracle: AwaitTell
  dirpath: {folder}/runs/{{seed}}
  seed: 5
"""


def recipe(folder, acquisition="Margin"):
    path = Path(folder) / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder, acquisition=acquisition))
    return path
