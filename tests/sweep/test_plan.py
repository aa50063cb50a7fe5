from pathlib import Path

import pytest

from lightning_al.sweep.plan import PlanError, plan_of, seeds_of
from tests.helpers.recipes import RECIPES

QUICKSTART = str(RECIPES / "quickstart.yaml")
SMALL = str(RECIPES / "fashion_mnist" / "small.yaml")


def plan(protocol=SMALL, methods="random", seeds="0", **kwargs):
    """The plan and what is wrong with it."""
    findings = []
    return plan_of([protocol], methods, seeds, findings=findings, **kwargs), findings


@pytest.mark.parametrize(
    ("text", "seeds"), [("0..4", [0, 1, 2, 3, 4]), ("0,3,5", [0, 3, 5]), ("7", [7]), (" 2..3, 9 ,", [2, 3, 9])]
)
def test_seeds(text, seeds):
    assert (seeds_of(text, findings := []), findings) == (seeds, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names none, got ''"),
        ("-1", "'-1' is no seed"),
        ("1.5", "'1.5' is no seed"),
        ("0...4", "'0...4' is no seed"),
        ("٣", "is no seed"),
        ("4..0", "did you mean 0..4?"),
        ("0..1000000", "0..1000000 is too much"),
        ("4294967296", "each below 2**32"),
        ("9" * 30, "is no seed"),
        ("0..2,1", "names 1 more than once"),
    ],
)
def test_seeds_that_are_none(text, words):
    seeds_of(text, findings := [])
    assert len(findings) == 1
    assert words in findings[0]


def test_runs_are_seed_by_seed_and_where_the_protocol_says():
    made, findings = plan(methods="saal,random,saal+sam_small", seeds="0,3", overrides=("--data.root=x y",))
    assert findings == []
    jobs = made.jobs(("lightning-al",))
    assert [job.name for job in jobs] == [
        *("saal, seed 0", "random, seed 0", "saal_sam_small, seed 0"),
        *("saal, seed 3", "random, seed 3", "saal_sam_small, seed 3"),
    ]
    assert jobs[-1].folder == Path("runs/fashion_mnist/small/saal_sam_small/seed_3")
    assert jobs[-1].log == Path("runs/fashion_mnist/small/saal_sam_small/seed_3.log")
    assert made.root == Path("runs/fashion_mnist/small")
    method, training = RECIPES / "acquisitions" / "saal.yaml", RECIPES / "training" / "sam_small.yaml"
    assert jobs[-1].words == (
        *("lightning-al", "run", "-c", SMALL, "-c", str(method), "-c", str(training), "--data.root=x y"),
        *("--loop.seed=3", f"--loop.dirpath={jobs[-1].folder}", "--resume"),
    )


@pytest.mark.parametrize(
    ("given", "folder", "root"),
    [
        ("runs/x", "runs/x/random/seed_2", "runs/x"),
        ("runs/{method}/of_{seed}", "runs/random/of_2", "runs"),
        ("/x/s{seed}/{method}", "/x/s2/random", "/x"),
    ],
)
def test_folders(given, folder, root):
    made, findings = plan(QUICKSTART, seeds="2", dirpath=given)
    assert findings == []
    assert (made.folder(made.methods[0], 2), made.root) == (Path(folder), Path(root))


def test_methods_of_ones_own_beside_a_protocol_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acquisitions").mkdir()
    (tmp_path / "own.yaml").write_text("loop: {dirpath: 'runs/{method}/{seed}'}")
    for name in ("acquisitions/mine.yaml", "other.yaml"):
        (tmp_path / name).write_text("trainer: {callbacks: [{class_path: Margin}]}")
    made, findings = plan("own.yaml", "mine,other.yaml")
    assert findings == []
    assert [method.name for method in made.methods] == ["mine", "other"]
    made, findings = plan("own.yaml", "mine,badge+sam")  # which come with the package
    assert findings == []
    assert [[file.name for file in method.files] for method in made.methods] == [
        ["mine.yaml"],
        ["badge.yaml", "sam.yaml"],
    ]


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    (tmp_path / "torn.yaml").write_text("loop: {dirpath: [")
    (tmp_path / "list.yaml").write_text("- 1")
    made, findings = plan(
        QUICKSTART,
        f"SAAL,randm,random,random,{tmp_path}/none.yaml,{tmp_path}/torn.yaml,{tmp_path}/list.yaml,badge+x",
        "x,1..0",
        overrides=("--loop.seed=3", "--loop.dirpath", "y", "--resume", "--config=z"),
    )
    for words in (
        "`--methods` names random more than once",
        "no method 'SAAL': did you mean saal",
        "no method 'randm': did you mean random?",
        f"There is no recipe {tmp_path}/none.yaml",
        "torn.yaml is no YAML",
        "list.yaml is no recipe: it holds [1]",
        "no method 'x'",
        "'x' is no seed",
        "did you mean 0..1?",
        "`--loop.seed` is what a sweep says",
        "`--loop.dirpath` is what",
        "`--resume` is what",
        "`--config` is what",
        "without {method}",
    ):
        assert [words in finding for finding in findings].count(True) == 1, words
    assert len(findings) == 14
    said = str(PlanError(findings))
    assert said.startswith("14 things cannot be as they are:\n  1. ")
    assert str(PlanError(["One."])) == "One."


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("missing.yaml", "There is no recipe missing.yaml"),
        (".", "Is a directory"),
        ("empty", "is no recipe: it holds None"),
        ("binary", "is no YAML"),
        ("bare", "says no `loop.dirpath` (got None)"),
        ("number", "says no `loop.dirpath` (got 3)"),
    ],
)
def test_protocols_that_are_none(tmp_path, monkeypatch, protocol, words):
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("# nothing")
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("bare").write_text("loop: 3")
    Path("number").write_text("loop: {dirpath: 3}")
    Path("acquisitions").mkdir()
    Path("acquisitions/random.yaml").write_text("trainer: {}")
    _, findings = plan(protocol)
    assert any(words in finding for finding in findings), findings


def test_two_methods_of_one_name(tmp_path):
    (tmp_path / "random.yaml").write_text("trainer: {}")
    _, findings = plan(methods=f"random,{tmp_path}/random.yaml")
    assert len(findings) == 1
    assert "two are named random, and would share a folder" in findings[0]
