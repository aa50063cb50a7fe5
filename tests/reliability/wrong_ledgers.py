"""Wrong files and answers: ledgers, checkpoints, features, YAML, and what `ask` and `tell` are given."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al import SKIP, AwaitTell, Campaign, Oracle
from lightning_al.acquisition import CoreSet, Margin
from tests.helpers.projects import Data, Net
from tests.reliability.wrong import RECIPE, CommandError, Project, Row

# -------------------------------------------------------------------------------------------------------- ledgers


def finished(project: Project) -> None:
    """A campaign that was run to its end: one round and the last fit."""
    project.run()


def event(project: Project, number: int) -> Path:
    [path] = (project.dirpath / "ledger").glob(f"{number:06d}-*.json")
    return path


def edited(number: int, **fields: Any) -> Callable[[Project], None]:
    """A finished campaign with fields of an event changed by hand; a function is given what was there."""

    def given(project: Project) -> None:
        finished(project)
        path = event(project, number)
        said = json.loads(path.read_text())
        said |= {name: value(said[name]) if callable(value) else value for name, value in fields.items()}
        path.write_text(json.dumps(said))

    return given


def damaged(damage: Callable[[Project], Any]) -> Callable[[Project], None]:
    """A finished campaign to which something was done."""

    def given(project: Project) -> None:
        finished(project)
        damage(project)

    return given


def weights(project: Project) -> Path:
    [path] = project.dirpath.glob("round_1/weights_*.ckpt")
    return path


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def hostile(path: Callable[[Project], Path]) -> Callable[[Project], None]:
    return damaged(lambda p: torch.save({"state_dict": Hostile(p.folder / "harm")}, path(p)))


def resumed(**options: Any) -> Callable[[Project], Any]:
    return lambda p: p.run(resume=True, **{"rounds": 2, **options})


def _relabelled() -> Data:
    class Relabelled(Data):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            x, y = self.train.tensors
            self.train = TensorDataset(x, (y + 1) % 3)

    return Relabelled()


def _renamed() -> Data:
    class Renamed(Data):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            self.train.samples = [(f"{i}.png", 0) for i in range(self.n)]

    return Renamed()


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)).double()


# Event 0: started, 1: asked, 2: answered, 3: fitted, 4: asked, 5: reported ...
LEDGERS: list[tuple[str, Callable[[Project], None], type[Exception], str]] = [
    (
        "cut short",
        damaged(lambda p: event(p, 2).write_text(event(p, 2).read_text()[:20])),
        ValueError,
        "000002-answered.json is damaged .*Restore it from a copy",
    ),
    ("an empty file", damaged(lambda p: event(p, 2).write_text("")), ValueError, "000002-answered.json is damaged"),
    (
        "binary garbage",
        damaged(lambda p: event(p, 2).write_bytes(bytes(range(256)))),
        ValueError,
        "000002.* is damaged",
    ),
    ("a list", damaged(lambda p: event(p, 2).write_text("[]")), ValueError, "000002-answered.json is damaged"),
    (
        "a pickle",
        damaged(lambda p: torch.save({"x": Hostile(p.folder / "harm")}, event(p, 2))),
        ValueError,
        "is damaged",
    ),
    ("an event is missing", damaged(lambda p: event(p, 2).unlink()), ValueError, "lacks event 000002 .*Restore"),
    ("the first is missing", damaged(lambda p: event(p, 0).unlink()), ValueError, "lacks event 000000 .*Restore"),
    (
        "all are missing",
        damaged(lambda p: [f.unlink() for f in (p.dirpath / "ledger").iterdir()]),
        FileExistsError,
        "holds round_1.*, but its ledger is empty .*Restore",
    ),
    (
        "the folder of events is missing",
        damaged(lambda p: shutil.rmtree(p.dirpath / "ledger")),
        FileExistsError,
        "its ledger is .*missing.*Restore",
    ),
    (
        "an event twice",
        damaged(lambda p: shutil.copy(event(p, 2), p.dirpath / "ledger" / "000002-copy.json")),
        ValueError,
        "has event 000002 twice.*000002-copy.json. Remove",
    ),
    ("a newer version", edited(0, schema=99), ValueError, "newer lightning_al .schema 99, this one: 1"),
    ("a version that is no number", edited(2, schema="1"), ValueError, "000002.*damaged"),
    ("an unknown kind", edited(2, kind="eaten"), ValueError, "unknown kind 'eaten'"),
    ("a kind that is no name", edited(2, kind=["answered"]), ValueError, "000002"),
    ("begins in the middle", edited(0, kind="fitted"), ValueError, "does not begin with a `started` event"),
    ("begins twice", edited(2, kind="started", size=60, options={}), ValueError, "000002.*started"),
    ("a size that is no number", edited(0, size="60"), ValueError, "000000.*size.*'60'"),
    ("an index twice", edited(1, indices=lambda v: [v[0], *v[:-1]]), ValueError, "000001.*distinct"),
    (
        "an index out of range",
        edited(1, indices=lambda v: [60, *v[1:]]),
        ValueError,
        r"000001.*between 0 and 59, got \[60\]",
    ),
    ("a fraction for an index", edited(1, indices=lambda v: [0.5, *v[1:]]), ValueError, "000001.*integers, got 0.5"),
    ("fewer keys", edited(1, keys=[]), ValueError, "000001"),
    ("fewer labels", edited(2, labels=[0]), ValueError, "000002"),
    ("asked again", damaged(lambda p: _asked_again(p)), ValueError, "000004.*is labelled"),
    ("a digest that is a path", edited(3, digest="../../xx"), ValueError, "000003.*`digest` must be .*'../../xx'"),
    ("a price that is none", edited(2, costs=["free"]), ValueError, "000002.*`costs` must be numbers .*free"),
    ("a sum that is none", edited(3, spent="all"), ValueError, "000003.*`spent` must be a number, got 'all'"),
    ("a round that is no number", edited(4, round="0"), ValueError, "000004.*round.*'0'"),
    ("metrics that are none", edited(3, metrics=[0.5]), ValueError, r"000003.*metrics.*\[0.5\]"),
    (
        "a field is missing",
        damaged(lambda p: event(p, 2).write_text('{"schema": 1, "kind": "answered"}')),
        ValueError,
        "000002.*indices",
    ),
    (
        "a label changed",
        edited(2, labels=lambda v: [(v[0] + 1) % 3, *v[1:]]),
        ValueError,
        "had label . when .* has . now",
    ),
    ("a label of no class", edited(2, labels=lambda v: ["cat", *v[1:]]), ValueError, "'cat'"),
    ("a told label of no class", edited(2, labels=lambda v: ["cat", *v[1:]], annotator="tell"), ValueError, "'cat'"),
    (
        "the seed changed",
        edited(0, options=lambda v: {**v, "seed": 1}),
        ValueError,
        "has seed 1, and cannot go on with seed 0",
    ),
    ("the size changed", edited(0, size=61), ValueError, "of a dataset of 61 samples; this one has 60"),
]

CHECKPOINTS = [
    (
        "initial weights cut short",
        damaged(lambda p: _cut(p.dirpath / "initial.ckpt")),
        ValueError,
        "initial.ckpt.*damaged",
    ),
    (
        "initial weights missing",
        damaged(lambda p: (p.dirpath / "initial.ckpt").unlink()),
        FileNotFoundError,
        "initial.ckpt is missing. Restore",
    ),
    (
        "initial weights that run code",
        hostile(lambda p: p.dirpath / "initial.ckpt"),
        ValueError,
        "initial.ckpt is damaged, or holds more .*Nothing in it was run",
    ),
    (
        "initial weights of a list",
        damaged(lambda p: torch.save([1], p.dirpath / "initial.ckpt")),
        ValueError,
        "initial.ckpt is damaged: it holds a list",
    ),
    ("weights cut short", damaged(lambda p: _cut(weights(p))), ValueError, "weights_.*damaged"),
    ("weights of text", damaged(lambda p: weights(p).write_text("weights")), ValueError, "weights_.*damaged"),
    (
        "weights that run code",
        hostile(weights),
        ValueError,
        "weights_.* is damaged, or holds more .*Nothing in it was run",
    ),
    (
        "weights of another model",
        damaged(
            lambda p: torch.save(
                {**torch.load(weights(p), weights_only=True), "state_dict": Wider().state_dict()}, weights(p)
            )
        ),
        ValueError,
        "weights_.*another model",
    ),
]


def _asked_again(project: Project) -> None:
    before, path = json.loads(event(project, 1).read_text()), event(project, 4)
    path.write_text(json.dumps({**json.loads(path.read_text()), "indices": before["indices"][:4]}))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


RESUMED: list[tuple[str, Callable[[Project], Any], type[Exception], str]] = [
    (
        "nothing was said of going on",
        lambda p: p.run(),
        FileExistsError,
        "holds a campaign already. Pass `resume=True`",
    ),
    ("without a folder", lambda p: p.run(dirpath=None, resume=True), ValueError, "`resume=True` needs `dirpath=`"),
    ("another seed", resumed(seed=1), ValueError, "has seed 0, and cannot go on with seed 1"),
    ("a smaller data set", resumed(data=Data(50)), ValueError, "of a dataset of 60 samples; this one has 50"),
    ("other labels", lambda p: resumed(data=_relabelled())(p), ValueError, "had label . when the campaign.*another"),
    ("other names", lambda p: resumed(data=_renamed())(p), ValueError, "was '.*' when the campaign.*'.*png' now"),
    ("another model", lambda p: resumed(model=Wider())(p), ValueError, "another model"),
    ("another query size", resumed(query_size=5), UserWarning, "options that changed: query_size: 4 -> 5"),
    ("another acquisition", resumed(acquisition=Margin()), UserWarning, "options that changed: .*Entropy.*Margin"),
    ("ask with another seed", lambda p: p.loop(seed=1).ask(p.trainer()), ValueError, "has seed 0"),
    ("tell an index of no sample", lambda p: p.loop().tell([60], [0]), IndexError, r"between 0 and 59, got \[60\]"),
]


class User(Oracle):
    """Answers wrongly."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def request(self, indices: Any) -> None:
        self.asked = list(indices)

    def poll(self) -> Any:
        return self.answers(self.asked)


FOLDERS = [
    ("a file", lambda p: p.dirpath.write_text("notes"), NotADirectoryError, r"dirpath=.*c.* is a file"),
    ("below a file", lambda p: p.dirpath.write_text("notes"), NotADirectoryError, "c is a file. Name another"),
    (
        "a ledger that is a file",
        lambda p: (p.dirpath.mkdir(), (p.dirpath / "ledger").write_text("x")),
        NotADirectoryError,
        "ledger is a file",
    ),
    (
        "weights of one's own",
        lambda p: (p.dirpath.mkdir(), (p.dirpath / "initial.ckpt").write_text("mine")),
        FileExistsError,
        "holds initial.ckpt.*name another `dirpath`",
    ),
]


# ------------------------------------------------------------------------------------------------- files of features


def _features(name: str, write: Callable[[Path], Any]) -> tuple[Callable[[Project], Any], Callable[[Project], Any]]:
    return lambda p: write(p.folder / name), lambda p: p.run(acquisition=CoreSet(encoder=p.folder / name))


class _Harm:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("harm",))


FEATURES = [
    ("of 59 samples", "f.npy", lambda f: np.save(f, np.ones((59, 2))), ValueError, "59 samples and the training .* 60"),
    ("with NaN", "f.npy", lambda f: np.save(f, np.full((60, 2), np.nan)), ValueError, "NaN or infinite .* 60 of 60"),
    ("of integers", "f.npy", lambda f: np.save(f, np.ones((60, 2), int)), TypeError, "int64 of shape"),
    ("of three dimensions", "f.npy", lambda f: np.save(f, np.ones((60, 2, 2))), TypeError, r"\(N, d\).*\(60, 2, 2\)"),
    (
        "of objects",
        "f.npy",
        lambda f: np.save(f, np.array([_Harm()], object), allow_pickle=True),
        (TypeError, ValueError),
        "f.npy",
    ),
    ("of text", "f.npy", lambda f: f.write_text("1 2 3"), (TypeError, ValueError), "f.npy"),
    ("of text, torch", "f.pt", lambda f: f.write_text("1 2 3"), (TypeError, ValueError), "f.pt"),
    ("that runs code", "f.pt", lambda f: torch.save(_Harm(), f), (TypeError, ValueError), "f.pt"),
    (
        "a dict",
        "f.pt",
        lambda f: torch.save({"x": torch.ones(60, 2)}, f),
        TypeError,
        "must hold floating features .*dict",
    ),
    ("of another format", "f.csv", lambda f: f.write_text("1,2"), TypeError, "read from `.npy` and `.pt`"),
    ("of another byte order", "f.npy", lambda f: np.save(f, np.ones((60, 2), ">f4")), TypeError, "byte order: save"),
]

# ------------------------------------------------------------------------------------------------------ ask and tell


def asked(project: Project) -> None:
    """A campaign whose initial set is with the annotators."""
    project.loop(oracle=AwaitTell()).ask(project.trainer())


def told(*indices_and_labels: Any) -> Callable[[Project], Any]:
    return lambda p: p.loop(oracle=AwaitTell()).tell(*indices_and_labels)


def _pending(project: Project) -> list[int]:
    return Campaign.load(project.dirpath).pool.pending.tolist()


ASKED = [
    ("tell: an index of no sample", told([60], [0]), IndexError, r"between 0 and 59, got \[60\]"),
    ("tell: a negative index", told([-1], [0]), IndexError, r"between 0 and 59, got \[-1\]"),
    ("tell: a fraction for an index", told([0.5], [0]), TypeError, r"must be integers, got 0.5 \(float\)"),
    ("tell: True for an index", told([True], [0]), TypeError, r"must be integers, got True \(bool\)"),
    ("tell: text for an index", told(["3"], [0]), TypeError, r"must be integers, got '3' \(str\)"),
    ("tell: float tensor of indices", told(torch.tensor([1.0]), [0]), TypeError, r"must be integers, got 1.0"),
    ("tell: one index, no list", told(3, [0]), TypeError, "Expected a list of dataset indices, got 3"),
    ("tell: an index twice", told([3, 3], [0, 1]), ValueError, r"distinct, got \[3\] more than once"),
    ("tell: one label, no list", told([3], 0), TypeError, "Expected a list of labels.*got 0"),
    ("tell: fewer labels", told([3, 4], [0]), ValueError, "2 indices and 1 labels"),
    ("tell: more labels", told([3], [0, 1]), ValueError, "1 indices and 2 labels"),
    ("tell: text for a label", told([3], ["cat"]), TypeError, "Dataset index 3: .*class indices.*got 'cat'"),
    ("tell: a fraction for a label", told([3], [0.5]), TypeError, "Dataset index 3: .*got 0.5"),
    ("tell: None for a label", told([3], [None]), TypeError, "Dataset index 3: .*got None"),
    ("tell: a list for a label", told([3], [[0, 1]]), TypeError, r"Dataset index 3: .*got \[0, 1\]"),
    ("tell: a negative label", told([3], [-1]), TypeError, "Dataset index 3: Class indices must be at least 0.*got -1"),
    ("tell: one bad label among good", told([3, 4], [0, "cat"]), TypeError, "Dataset index 4: .*got 'cat'"),
    (
        "ask: nothing is labelled",
        lambda p: p.loop(oracle=AwaitTell()).ask(p.trainer()),
        RuntimeError,
        r"Nothing is labelled yet: `tell` the labels.*\(6 in all",
    ),
    *(
        (
            f"ask: k={k!r}",
            lambda p, k=k: p.loop(oracle=AwaitTell()).ask(p.trainer(), k=k),
            error,
            words + rf", got {k!r}",
        )
        for error, words, ks in (
            (ValueError, "`k` must be at least 1", (0, -1)),
            (TypeError, "`k` must be an integer of at least 1 or None", (1.5, True, "4")),
        )
        for k in ks
    ),
    (
        "ask: no Trainer",
        lambda p: p.loop(oracle=AwaitTell()).ask(None),
        TypeError,
        "must be a `lightning.Trainer`, got None",
    ),
    (
        "run: starting over while waiting",
        lambda p: p.run(oracle=AwaitTell()),
        FileExistsError,
        "holds a campaign already",
    ),
]


def labelled(project: Project) -> None:
    """A campaign with labels for its initial set."""
    asked(project)
    indices = _pending(project)
    project.loop(oracle=AwaitTell()).tell(indices, [i % 3 for i in indices])


def _labelled_ones(project: Project) -> list[int]:
    return Campaign.load(project.dirpath).pool.labelled.tolist()


LABELLED = [
    (
        "ask: more than the pool",
        lambda p: p.loop(oracle=AwaitTell()).ask(p.trainer(), k=55),
        ValueError,
        r"`ask\(k=55\)` is more than the pool has left, 54: ask for fewer",
    ),
    (
        "ask: more than the sub-pool",
        lambda p: p.loop(oracle=AwaitTell(), subpool_size=5).ask(p.trainer(), k=6),
        ValueError,
        r"`ask\(k=6\)` is more than the sub-pool has left, 5",
    ),
    (
        "ask: more than the budget",
        lambda p: p.loop(oracle=AwaitTell(), budget=8).ask(p.trainer(), k=3),
        ValueError,
        r"`ask\(k=3\)` is more than the budget has left, 2",
    ),
    (
        "tell: SKIP for a label that was told",
        lambda p: p.loop().tell(_labelled_ones(p)[:1], [SKIP]),
        ValueError,
        "`SKIP` cannot take back a label .*Tell another",
    ),
]

NEW = [
    (
        "tell: before ask, without a folder",
        lambda p: p.loop(dirpath=None).tell([0], [0]),
        RuntimeError,
        "`tell` needs a campaign that was opened by `ask` or `run`",
    ),
    ("tell: before ask", lambda p: p.loop().tell([0], [0]), RuntimeError, "opened by `ask` or `run`, or a `dirpath=`"),
    ("load: no campaign", lambda p: Campaign.load(p.dirpath), FileNotFoundError, "There is no campaign in .*c "),
    (
        "oracle: polls None",
        lambda p: p.run(oracle=User(lambda asked: None)),
        TypeError,
        "must return a dict .*NoneType",
    ),
    ("oracle: polls a list", lambda p: p.run(oracle=User(lambda asked: [0])), TypeError, "must return a dict .*list"),
    (
        "oracle: answers for no sample",
        lambda p: p.run(oracle=User(lambda asked: {99: 0})),
        IndexError,
        r"59, got \[99\]",
    ),
    (
        "oracle: answers of text",
        lambda p: p.run(oracle=User(lambda asked: dict.fromkeys(asked, "cat"))),
        TypeError,
        r"6 label\(s\) cannot be taken. Dataset index .*'cat'",
    ),
    (
        "oracle: declines all",
        lambda p: p.run(oracle=User(lambda asked: dict.fromkeys(asked, SKIP))),
        RuntimeError,
        "All 60 samples were skipped",
    ),
]

# ------------------------------------------------------------------------------------------------ from the command line

COMMANDS = [
    ("an unknown option", ["--loop.querysize=4"], RECIPE, "querysize"),
    ("an unknown option in YAML", [], RECIPE + "  querysize: 4\n", "querysize"),
    ("an unknown section", [], RECIPE + "loops:\n  rounds: 3\n", "loops"),
    ("a misspelt acquisition", ["--trainer.callbacks=Entropi"], RECIPE, "Entropi"),
    ("an unknown option of an acquisition", ["--trainer.callbacks=SAAL", "--trainer.callbacks.rh=1"], RECIPE, "rh"),
    ("a wrong option of an acquisition", ["--trainer.callbacks=SAAL", "--trainer.callbacks.rho=-1"], RECIPE, "rho.*-1"),
    ("text for a count", ["--loop.query_size=four"], RECIPE, "query_size.*four"),
    ("a fraction for a count", ["--loop.rounds=1.5"], RECIPE, "rounds.*1.5"),
    ("a negative count", ["--loop.query_size=-4"], RECIPE, "`query_size` must be at least 1, got -4"),
    ("too many", ["--loop.query_size=99"], RECIPE, "`query_size=99` is larger than the pool"),
    ("no model", [], RECIPE.replace("model:\n  class_path: tests.helpers.projects.Net\n", ""), "model"),
    ("no data", [], RECIPE.replace("data:\n  class_path: tests.helpers.projects.Data\n", ""), "data"),
    ("a misspelt model", ["--model=tests.helpers.projects.Nett"], RECIPE, "Nett"),
    ("no acquisition", ["--trainer.callbacks=null"], RECIPE, "exactly one acquisition .*found 0"),
    ("no initial set", [], RECIPE.replace("  initial: 6\n", ""), "initial"),
    ("broken YAML", [], RECIPE + "  - x: [\n", "Problems parsing config.*line 16"),
    ("no such recipe", ["-c", "nowhere.yaml"], RECIPE, "nowhere.yaml"),
    ("resume without a folder", ["--resume", "--loop.dirpath=null"], RECIPE, "`--resume` needs `--loop.dirpath`"),
    ("an unknown reset", ["--loop.reset=never"], RECIPE, "never"),
    ("an unknown flag", ["--restart"], RECIPE, "--restart"),
]

ROWS = [
    *(Row(f"ledger: {name}", error, words, resumed(), given) for name, given, error, words in LEDGERS),
    *(
        Row(f"ledger: {name}, read back", error, words, lambda p: Campaign.load(p.dirpath), given)
        for name, given, error, words in LEDGERS
        if ("changed" not in name and "no class" not in name and "missing" not in name) or name == "an event is missing"
    ),
    *(
        Row(f"checkpoint: {name}", error, words, resumed(reset="warm"), given)
        for name, given, error, words in CHECKPOINTS
    ),
    *(Row(f"resume: {name}", error, words, use, finished) for name, use, error, words in RESUMED),
    *(
        Row(
            f"folder: {name}",
            error,
            words,
            lambda p, n=name: p.run(dirpath=p.dirpath / ("x" * n.startswith("below"))),
            given,
        )
        for name, given, error, words in FOLDERS
    ),
    *(
        Row(f"features: {name}", error, words, *reversed(_features(file, write)))
        for name, file, write, error, words in FEATURES
    ),
    *(Row(name, error, words, use, asked) for name, use, error, words in ASKED),
    *(Row(name, error, words, use, labelled) for name, use, error, words in LABELLED),
    *(Row(name, error, words, use) for name, use, error, words in NEW),
    *(
        Row(f"command: {name}", CommandError, words, lambda p, f=flags, r=recipe: p.command(*f, recipe=r))
        for name, flags, recipe, words in COMMANDS
    ),
]
