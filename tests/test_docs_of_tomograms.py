"""docs/tomograms.md: the example runs, and does what the page says."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "tomograms.md").read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
ROOT = Path(__file__).parents[1]


def test_the_example(tmp_path, monkeypatch):
    pytest.importorskip("mrcfile")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(EXAMPLE, "docs/tomograms.md", "exec"), names)
    loop = names["loop"]
    assert [result.labelled for result in loop.history] == [6, 10]
    cube, label = loop.datamodule.pool_set[0]
    assert (tuple(cube.shape), label) == ((1, 8, 8, 8), 0)
    assert loop.history[0].picked
    keys = [loop.campaign.keys[index] for index in loop.history[0].picked]
    assert all(re.fullmatch(r"a\.mrc \d+,\d+,8", key) for key in keys)


def test_the_files_it_names_are_there():
    for name in re.findall(r"-c (\S+\.yaml)|python (\S+\.py)", PAGE):
        assert (ROOT / "".join(name)).is_file()
