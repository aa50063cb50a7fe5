"""The Python of the README and of the pages in docs/, as a stranger would paste it."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import RegressionTask, score
from tests.helpers.real_values import Values

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PROJECT = ROOT / "docs/start/lightning_project.md"
"""The page whose module and data the README and the guides use."""
LOOPS = ["guides/committees", "guides/diversity", "guides/loss_prediction", "guides/reproducibility", "guides/stopping"]
PAGES = ["sam", "guides/own_acquisition", "guides/own_task", "guides/people", "methods/*"]
SLOW = [*LOOPS, "guides/migrating"]
ELSEWHERE = [
    *(
        "bccd",
        "diagnostics",
        "gpu",
        "labels",
        "large",
        "loggers",
        "race",
        "report",
        "regions",
        "rounds",
        "samplers",
        "score",
        "sweeps",
        "tasks",
        "tomograms",
    ),
    "unlabelled",
]
"""Pages whose Python other tests run, or that only define classes."""


def blocks_of(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def shorter(block):
    """The same with one epoch."""
    return re.sub(r"max_epochs=\d+", "max_epochs=1", block)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page on Lightning projects defines, its campaign left out."""
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for block in blocks_of(PROJECT):
        if "ActiveLearningLoop(" not in block:
            exec(compile(block, str(PROJECT), "exec"), made)
    return made


def run(path, names):
    for block in blocks_of(path):
        exec(compile(shorter(block), str(path), "exec"), names)


def test_the_readme_runs(names):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*begins with the weights")  # each campaign with a module of its own
        run(README, names)
    assert [r.labelled for r in names["history"]] == [20, 30, 40, 50]
    assert len(set(names["indices"])) == 20


def test_the_page_on_lightning_projects_runs_and_learns(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks_of(PROJECT):
        exec(compile(block, str(PROJECT), "exec"), names)
    assert [r.labelled for r in names["history"]] == [20, 30, 40, 50]
    assert names["history"][-1].metrics["val_acc"] > 0.5


def test_the_page_on_people_asks_and_is_told(names):
    run(ROOT / "docs/guides/people.md", names)
    assert len(set(names["indices"])) == 10


def test_the_page_on_acquisitions_of_ones_own_runs(names):
    run(ROOT / "docs/guides/own_acquisition.md", names)
    assert names["scores"].picks
    assert names["norms"].shape == (100,)
    assert len(set(names["first"].tolist())) == len(set(names["picked"])) == 10
    model, x = Values(), torch.randn(20, 4, dtype=torch.float64)
    scores = score(model, TensorDataset(x, x[:, :1]), names["Largest"](), task=RegressionTask()).score
    np.testing.assert_allclose(scores, model.eval()(x).flatten().detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_page_on_tasks_of_ones_own_runs(names):
    run(ROOT / "docs/guides/own_task.md", names)
    assert [r.labelled for r in names["history"]] == [10, 15]


def test_the_page_on_sam_makes_a_module(names):
    run(ROOT / "docs/sam.md", names)
    assert names["SharpnessAware"]().variant == "looksam"


@pytest.mark.parametrize("path", sorted((ROOT / "docs/methods").glob("*.md")), ids=lambda path: path.stem)
def test_a_method_is_made(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("features.npy", np.eye(3))
    made: dict = {}
    run(path, made)
    assert path.stem == "index" or callable(made["acquisition"].select)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_a_guide_runs(names, page):
    run(ROOT / f"docs/{page}.md", names)


def test_every_page_with_python_is_run():
    with_python = {path for path in (ROOT / "docs").rglob("*.md") if blocks_of(path)}
    run_here = [*PAGES, *SLOW, "start/lightning_project"]
    tried = {path for page in [*run_here, *ELSEWHERE] for path in (ROOT / "docs").glob(f"{page}.md")}
    assert with_python - tried == set()


def test_the_python_of_a_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    run(ROOT / "docs/unlabelled.md", names)
    loop = names["loop"]
    assert [r.labelled for r in loop.history] == [20, 23]
    assert len({*names["indices"][:3], *names["more"]}) == 8
