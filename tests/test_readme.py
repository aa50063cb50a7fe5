"""The README's Python, as a stranger would paste it."""

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
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    history, indices = names["history"], names["indices"]
    assert [r.labelled for r in history] == [20, 30, 40, 50]
    assert history[-1].metrics["val_acc"] > 0.5
    assert len(set(indices)) == 10
    assert names["scores"].shape == names["norms"].shape == (100,)
