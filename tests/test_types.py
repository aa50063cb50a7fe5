"""What a type checker sees of the package from outside: its stubs, its docstrings' types, and wrong calls."""

import subprocess
import sys

import pytest

RIGHT = """
import lightning as L
from torch import Tensor
from torch.utils.data import Dataset

import lightning_al as al
from lightning_al.acquisition import BADGE, SAAL, Acquisition
from lightning_al.functional import entropy
from lightning_al.stopping import MetricReached
from lightning_al.training import SAMMixin


class Net(SAMMixin, L.LightningModule):
    pass


def campaign(model: L.LightningModule, data: L.LightningDataModule, logits: Tensor, pool: Dataset[Tensor]) -> None:
    acquisition: Acquisition = SAAL(selection="kmeans")
    trainer = L.Trainer(callbacks=[acquisition])
    loop = al.ActiveLearningLoop(model, data, query_size=10, initial=20, rounds=3, stop=MetricReached("val_acc", 0.9))
    history = loop.run(trainer)
    scores = al.score(model, pool, BADGE(), k=3)
    reveal_type(loop)
    reveal_type(history)
    reveal_type(scores)
    reveal_type(entropy(logits))
"""
WRONG = """
import lightning as L

import lightning_al as al


def campaign(model: L.LightningModule, pool: L.LightningDataModule) -> None:
    al.ActiveLearningLoop(model, query_size="ten", initial=20)
    al.ActiveLearningLoop(model, query_size=10)
    al.score(model, pool, acquisition=3)
    al.NoSuchName
"""


def checked(tmp_path, text):
    pytest.importorskip("mypy")
    (tmp_path / "mine.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--disallow-any-unimported",
        "--cache-dir",
        str(tmp_path),
        "mine.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    return done.stdout.splitlines(), done.stderr


@pytest.mark.slow
def test_a_strict_project_sees_the_types(tmp_path):
    lines, error = checked(tmp_path, RIGHT)
    assert not error
    assert [line.partition(": ")[2] for line in lines] == [
        'note: Revealed type is "lightning_al.loop.loop.ActiveLearningLoop"',
        'note: Revealed type is "list[lightning_al.campaign.results.RoundResult]"',
        'note: Revealed type is "lightning_al.scoring.scores.Scores"',
        'note: Revealed type is "torch._tensor.Tensor"',
        "no issues found in 1 source file",
    ]


@pytest.mark.slow
def test_wrong_calls_are_errors(tmp_path):
    lines, error = checked(tmp_path, WRONG)
    assert not error
    errors = [line.partition(": error: ")[2] for line in lines if ": error:" in line]
    assert errors == [
        'Argument "query_size" to "ActiveLearningLoop" has incompatible type "str"; expected "int | float"  [arg-type]',
        'Missing named argument "initial" for "ActiveLearningLoop"  [call-arg]',
        'Argument "acquisition" to "score" has incompatible type "int"; expected "Acquisition"  [arg-type]',
        'Module has no attribute "NoSuchName"  [attr-defined]',
    ]
