"""The example of docs/samplers.md runs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "samplers.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert [result.labelled for result in names["history"]] == [20, 30]
