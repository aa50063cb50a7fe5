"""The Python of the README and of the pages in docs/, as a stranger would paste it."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 8
    names: dict = {}
    learnt = None
    for block in blocks:
        if learnt is not None:  # one campaign that learns is enough
            block = block.replace("max_epochs=20", "max_epochs=1")
        exec(compile(block, str(README), "exec"), names)
        learnt = learnt or names.get("history")
    for history in (learnt, names["history"]):
        assert [r.labelled for r in history] == [20, 30, 40, 50]
    assert learnt[-1].metrics["val_acc"] > 0.5
    assert len(set(names["indices"])) == 10
    assert names["scores"].shape == names["norms"].shape == (100,)


@pytest.mark.parametrize("page", ["unlabelled"])
def test_the_python_of_a_page_runs(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    text = (README.parent / "docs" / f"{page}.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, page, "exec"), names)
    loop = names["loop"]
    assert [r.labelled for r in loop.history] == [20, 23]
    assert len({*names["indices"][:3], *names["more"]}) == 8
