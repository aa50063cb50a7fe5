"""`lightning-al score`: a project's YAML and a checkpoint to a file of picks."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from lightning_al import Scores, score
from lightning_al.acquisition import Margin
from lightning_al.cli import main
from tests.helpers.marks import slow
from tests.helpers.projects import Net, make_data, make_trainer
from tests.helpers.scored import BARE

ROOT = Path(__file__).parents[2]
PROJECT = """
trainer:
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks:
    - class_path: Margin
model:
  class_path: tests.helpers.projects.Net
data:
  class_path: tests.helpers.projects.Data
"""
LOOP = """
loop:
  initial: 6
  query_size: 4
  rounds: 2
  pool_batch_size: 7
  pool_precision: 32
  seed: 5
  task:
    class_path: lightning_al.ClassificationTask
    init_args:
      outputs: probabilities
"""


def trained():
    model = Net()
    torch.nn.init.normal_(model.net[-1].weight, generator=torch.Generator().manual_seed(3))
    return model


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    (tmp_path / "project.yaml").write_text(PROJECT)
    torch.save(trained().state_dict(), tmp_path / "best.ckpt")
    return tmp_path


def test_picks_of_a_checkpoint(project, capsys, caplog):
    with caplog.at_level("INFO"):
        main(["score", "-c", "project.yaml", "--ckpt_path", "best.ckpt", "--k", "5", "--output", "out/picks.csv"])
    said = capsys.readouterr().out
    assert (
        "out/picks.csv: 5 picks of 60 samples\nKeys that begin with sha256: are hashes of the samples' inputs" in said
    )
    assert "Scoring the 60 samples of `pool_dataset()` of Data." in caplog.messages
    expected = score(trained(), BARE, Margin(), 5, trainer=make_trainer(project), batch_size=4)
    written = Scores.read_csv("out/picks.csv")
    assert written.picks == expected.picks
    assert written.score.equal(expected.score)
    with Path("out/picks.csv").open() as file:
        assert [row["rank"] for row in csv.DictReader(file)] == [*"12345", *[""] * 55]


def test_the_section_of_a_campaign_says_task_seed_batch_size_and_precision(project, monkeypatch):
    (project / "project.yaml").write_text(PROJECT + LOOP)
    seen = {}

    def noted(*args, **options):
        seen.update(options, args=args)
        return Scores(torch.arange(1), ["a"], None, [0])

    monkeypatch.setattr("lightning_al.cli.score.score", noted)
    main(["score", "-c", "project.yaml", "--labelled", "--skip-unreadable", "--trainer.callbacks=CoreSet"])
    assert (seen["seed"], seen["batch_size"], seen["pool_precision"]) == (5, 7, 32)
    probabilities = torch.tensor([[0.25, 0.75]])
    torch.testing.assert_close(seen["task"].logits(torch.nn.Identity(), probabilities), probabilities.log())
    assert (seen["labelled"], seen["skip_unreadable"], seen["ckpt_path"]) == (True, True, None)
    assert (type(seen["args"][2]).__name__, seen["args"][3]) == ("CoreSet", None)
    main(["score", "-c", "project.yaml", "--batch_size=3", "--loop.pool_precision=trainer"])
    assert (seen["labelled"], seen["skip_unreadable"], seen["batch_size"]) == (False, False, 3)
    assert seen["pool_precision"] == "trainer"
    assert Path("picks.csv").read_text() == "key,index,score,rank\na,0,,1\n"


def test_what_is_wrong_is_said_in_one_line(project):
    torch.save(torch.nn.Linear(2, 2).state_dict(), project / "other.ckpt")
    for flags, said in {
        ("--ckpt_path", "other.ckpt"): r"error: other.ckpt holds the weights of another model than this Net: it misses",
        ("--ckpt_path", "gone.ckpt"): "error: `ckpt_path='gone.ckpt'`: there is no such file",
        ("--loop.pool_precision=16",): "error: `pool_precision` must be one of '32', 'trainer', got '16'",
        ("--k", "99"): "error: `k=99` is more than the 60 samples",
        ("--trainer.callbacks=LearningRateMonitor",): "error: `score` needs exactly one acquisition",
    }.items():
        with pytest.raises(SystemExit, match=said):
            main(["score", "-c", "project.yaml", *flags])
    assert not Path("picks.csv").exists()


class Sized(L.LightningModule):
    def __init__(self, width: int = 5, rate: float = 0.1, act: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, width), act or torch.nn.Identity(), torch.nn.Linear(width, 3))
        self.double()

    def forward(self, x):
        return self.net(x)


class Configured(L.LightningModule):
    def __init__(self, sizes: dict) -> None:
        super().__init__()
        self.save_hyperparameters(sizes)  # known as `sizes` in checkpoints
        self.net = torch.nn.Linear(4, sizes["classes"]).double()

    def forward(self, x):
        return self.net(x)


def kept(model, file, **more):
    trainer = make_trainer(file.parent)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(file)
    if more:
        content = torch.load(file, weights_only=False)
        content["hyper_parameters"].update(more)
        torch.save(content, file)
    return model


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        (Sized(), {}, None),
        (Sized(width=7, rate=0.1), {}, "As kept.ckpt was trained: width=7 (not 5)."),
        (Sized(width=7, act=torch.nn.ReLU()), {}, "As kept.ckpt was trained: width=7 (not 5)."),
        (Sized(width=7), {"note": "no argument", "where": Path("x")}, "As kept.ckpt was trained: width=7 (not 5)."),
        (
            Sized(width=7, rate=0.2),
            {"_class_path": "gone.Net"},
            "As kept.ckpt was trained: width=7 (not 5), rate=0.2 (not 0.1).",
        ),
        (Configured({"classes": 4}), {}, "As kept.ckpt was trained: sizes={'classes': 4} (not {'classes': 3})."),
    ],
    ids=["same", "other size", "a module", "others", "by a LightningCLI", "all in one"],
)
def test_the_model_is_made_as_that_of_the_checkpoint(project, caplog, model, more, said):
    kept(model, project / "kept.ckpt", **more)
    yaml = PROJECT.replace("tests.helpers.projects.Net", f"{__name__}.{type(model).__name__}")
    if model.hparams.get("act") is not None:
        yaml = yaml.replace("data:", "  init_args: {act: {class_path: torch.nn.ReLU}}\ndata:")
    if "classes" in model.hparams:
        yaml = yaml.replace("data:", "  init_args: {sizes: {classes: 3}}\ndata:")
    (project / "project.yaml").write_text(yaml)
    with caplog.at_level("INFO"):
        main(["score", "-c", "project.yaml", "--ckpt_path", "kept.ckpt", "--k", "5"])
    expected = score(model, BARE, Margin(), 5, trainer=make_trainer(project), batch_size=4)
    written = Scores.read_csv("picks.csv")
    assert written.picks == expected.picks
    assert written.score.equal(expected.score)
    assert [each for each in caplog.messages if each.startswith("As ")] == ([] if said is None else [said])


def test_its_help_waits_for_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    assert "--skip-unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("processes", [slow(2)])
def test_from_the_shell_on_several_processes(project, processes):
    one = score(trained(), BARE, Margin(), 5, trainer=make_trainer(project), batch_size=4)
    shell = [sys.executable, "-m", "lightning_al", "score", "-c", "project.yaml", "--ckpt_path", "best.ckpt", "--k=5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    flags = [f"--trainer.devices={processes}", "--trainer.strategy=ddp"]
    done = subprocess.run([*shell, *flags], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("picks of 60 samples") == 1
    written = Scores.read_csv("picks.csv")
    assert written.picks == one.picks
    assert written.score.equal(one.score)
    assert written.index.tolist() == list(range(len(make_data()[0])))
