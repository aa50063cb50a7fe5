"""What an installed `lightning_al` does, tried in the environment that runs this file: `python tests/installed.py`.

It needs nothing but the package: without extras, campaigns from Python; with the extra `demo`, every command's help and
a campaign from the shell too. What is imported is what is installed, not the checkout beside it. `noxfile.py` runs it.
"""

import contextlib
import csv
import importlib.util
import io
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.pop(0)  # this folder; what is installed is to be tried

import lightning as L
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import lightning_al as al
from lightning_al.acquisition import BADGE, SAAL, Entropy, LPLGrad, Margin
from lightning_al.training import LossPredictionMixin, SAMMixin

COMMANDS = "run score features ask race tell status sweep compare diagnose report reproduce recipes"


class Net(L.LightningModule):
    """A project of a user's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class WithSAM(SAMMixin, Net):
    """Trained with sharpness-aware minimization."""


class WithLosses(LossPredictionMixin, Net):
    """Trained with a head that predicts losses."""


class Data(L.LightningDataModule):
    """Pictures of three classes, as noise of three means."""

    def __init__(self) -> None:
        super().__init__()
        targets = torch.arange(96) % 3
        noise = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.samples = TensorDataset(noise + 0.7 * targets.view(-1, 1, 1, 1), targets)

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.samples, batch_size=48)


def campaigns() -> None:
    for model, acquisition in ((Net(), SAAL()), (WithLosses(), LPLGrad()), (Net(), BADGE()), (WithSAM(), Entropy())):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=2, callbacks=[acquisition], enable_checkpointing=False, **quiet
        )
        name = f"campaigns/{type(model).__name__}-{type(acquisition).__name__}"
        loop = al.ActiveLearningLoop(model, Data(), initial=9, query_size=6, rounds=2, dirpath=name)
        picked = [index for result in loop.run(trainer) for index in result.picked]
        assert [result.labelled for result in al.Campaign.load(name).rounds] == [9, 15, 21]
        assert len(set(picked)) == 12
    assert len(set(al.score(Net(), Data().samples, Margin(), k=5).picks)) == 5


def command(*words: str) -> str:
    """Run a command as the shell does, and return what it printed."""
    from lightning_al.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            main(words)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{words} ended with {end.code}") from end
    return printed.getvalue()


def commands() -> None:
    for name in COMMANDS.split():
        assert "--" in command(name, "--help"), name
    assert "quickstart" in command("recipes")
    command("recipes", "--copy", "recipes")
    recipe = ("-c", "recipes/quickstart.yaml")
    command("run", *recipe, "--trainer.max_epochs=2", "--loop.rounds=2", "--loop.dirpath=runs/saal")
    assert [result.labelled for result in al.Campaign.load("runs/saal").rounds] == [20, 30, 40]
    command("score", *recipe, "--k=5", "--output=picks.csv")
    with Path("picks.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) >= 5
    command("report", "runs")
    assert any(Path("runs").rglob("*.html"))


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        campaigns()
        tried = "campaigns"
        if importlib.util.find_spec("jsonargparse") and importlib.util.find_spec("sklearn"):
            commands()
            tried += ", commands"
        os.chdir("/")
    python = platform.python_version()
    print(f"Python {python}, torch {torch.__version__}, lightning {L.__version__}: {tried} passed, in {al.__file__}")


if __name__ == "__main__":
    main()
