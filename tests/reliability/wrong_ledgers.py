"""Wrong ledgers and checkpoints, and campaigns that cannot be gone on with."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al import Campaign
from lightning_al.acquisition import Margin
from tests.helpers.projects import Data, Net
from tests.reliability.wrong import Project, Row


def finished(project: Project) -> None:
    """A campaign that was run to its end: one round and the last fit."""
    project.run()


def event(project: Project, number: int) -> Path:
    [path] = (project.dirpath / "ledger").glob(f"{number:06d}-*.json")
    return path


def edited(number: int, **fields: Any) -> Callable[[Project], None]:
    """A finished campaign with fields of an event changed by hand; a function is given what was there."""

    return damaged(lambda project: _edit(project, number, **fields))


def _edit(project: Project, number: int, **fields: Any) -> None:
    path = event(project, number)
    said = json.loads(path.read_text())
    said |= {name: value(said[name]) if callable(value) else value for name, value in fields.items()}
    path.write_text(json.dumps(said))


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
    (
        "the size changed",
        damaged(lambda p: _without_keys(p, size=61)),
        ValueError,
        r"of a dataset of 61 samples; this one has 60, and it knows \d+ of its samples by their index alone",
    ),
    (
        "the names changed",
        lambda p: p.run(data=_renamed()),
        ValueError,
        r"\d+ of \d+ labelled samples .* are not in .*'\d+.png'",
    ),
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


def _without_keys(project: Project, **started: Any) -> None:
    _edit(project, 0, **started)
    for path in (project.dirpath / "ledger").glob("*.json"):
        if "keys" in json.loads(path.read_text()):
            _edit(project, int(path.name[:6]), keys=lambda keys: [None] * len(keys))


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
    ("a smaller data set", resumed(data=Data(50)), ValueError, r"\d of \d+ labelled samples .* are not in"),
    ("other labels", lambda p: resumed(data=_relabelled())(p), ValueError, "had label . when the campaign.*another"),
    ("another model", lambda p: resumed(model=Wider())(p), ValueError, "another model"),
    ("another query size", resumed(query_size=5), UserWarning, "options that changed: query_size: 4 -> 5"),
    ("another acquisition", resumed(acquisition=Margin()), UserWarning, "options that changed: .*Entropy.*Margin"),
    ("ask with another seed", lambda p: p.loop(seed=1).ask(p.trainer()), ValueError, "has seed 0"),
    ("tell an index of no sample", lambda p: p.loop().tell([60], [0]), IndexError, r"between 0 and 59, got \[60\]"),
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
]
