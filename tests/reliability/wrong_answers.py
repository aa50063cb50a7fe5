"""Wrong answers: what `ask`, `tell`, oracles and the command line are given."""

from collections.abc import Callable
from typing import Any

import torch

from lightning_al import SKIP, AwaitTell, Campaign, Oracle
from tests.reliability.wrong import RECIPE, CommandError, Project, Row


class User(Oracle):
    """Answers wrongly."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def request(self, indices: Any) -> None:
        self.asked = list(indices)

    def poll(self) -> Any:
        return self.answers(self.asked)


def asked(project: Project) -> None:
    """A campaign whose initial set is with the annotators."""
    project.loop(oracle=AwaitTell()).ask(project.trainer())


def told(*indices_and_labels: Any, **options: Any) -> Callable[[Project], Any]:
    return lambda p: p.loop(oracle=AwaitTell()).tell(*indices_and_labels, **options)


def _pending(project: Project) -> list[int]:
    return Campaign.load(project.dirpath).pool.pending.tolist()


ASKED = [
    ("tell: an index of no sample", told([60], [0]), IndexError, r"between 0 and 59, got \[60\]"),
    ("tell: a negative index", told([-1], [0]), IndexError, r"between 0 and 59, got \[-1\]"),
    ("tell: a fraction for an index", told([0.5], [0]), TypeError, r"must be integers, got 0.5 \(float\)"),
    ("tell: True for an index", told([True], [0]), TypeError, r"must be integers, got True \(bool\)"),
    ("tell: a key of no sample", told(["3"], [0]), ValueError, r"1 of 1 keys names no sample: '3'"),
    ("tell: keys and indices", told([3, "3"], [0, 1]), TypeError, r"must be integers, got '3' \(str\)"),
    ("tell: a key twice", told(["k", "k"], [0, 1]), ValueError, "2 of 2 keys"),
    (
        "tell: nobody says it",
        lambda p: p.loop().tell([3], [0], annotator=None),
        TypeError,
        "`annotator` must be a name",
    ),
    ("tell: float tensor of indices", told(torch.tensor([1.0]), [0]), TypeError, r"must be integers, got 1.0"),
    ("tell: one index, no list", told(3, [0]), TypeError, "Expected a list of dataset indices, got 3"),
    ("tell: an index twice", told([3, 3], [0, 1]), ValueError, r"distinct, got \[3\] more than once"),
    ("tell: one label, no list", told([3], 0), TypeError, "Expected a list of labels.*got 0"),
    ("tell: fewer labels", told([3, 4], [0]), ValueError, "2 indices and 1 labels"),
    ("tell: more labels", told([3], [0, 1]), ValueError, "1 indices and 2 labels"),
    ("tell: text for a label", told([3], ["cat"]), TypeError, "Dataset index 3: .*class indices.*got 'cat'"),
    ("tell: a fraction for a label", told([3], [0.5]), TypeError, "Dataset index 3: .*got 0.5"),
    ("tell: None for a label", told([3], [None]), TypeError, "Dataset index 3: None is no label.*`SKIP`"),
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
        "`tell` and `release` need a campaign that was opened by `ask` or `run`",
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
    *(Row(name, error, words, use, asked) for name, use, error, words in ASKED),
    *(Row(name, error, words, use, labelled) for name, use, error, words in LABELLED),
    *(Row(name, error, words, use) for name, use, error, words in NEW),
    *(
        Row(f"command: {name}", CommandError, words, lambda p, f=flags, r=recipe: p.command(*f, recipe=r))
        for name, flags, recipe, words in COMMANDS
    ),
]
