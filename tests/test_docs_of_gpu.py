"""docs/gpu.md: the example runs, the parts of the script are those that it has, and so are the goals and the time."""

import re
from pathlib import Path

import torch

from tests.gpu.__main__ import FORWARDS, SHARES, TIMES

PAGE = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(example, "docs/gpu.md", "exec"), names)
    assert len(names["scores"].picks) == 20
    assert names["scores"].score.dtype == torch.float32


def test_the_parts_and_the_goals_are_those_of_the_script():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(SHARES)
    assert abs(sum(SHARES.values()) - 1) < 1e-9
    assert f"at most {FORWARDS:g} forward passes, and at least {TIMES:g} times faster" in PAGE
    assert "`--seconds`, 450 by default" in PAGE
