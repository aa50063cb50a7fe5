"""docs/regions.md: the example runs, and does what the page says."""

import re
from pathlib import Path

import torch

from lightning_al import SegmentationTask
from tests.helpers.regions import regions_asked

PAGE = (Path(__file__).parents[1] / "docs" / "regions.md").read_text()
EXAMPLE, TILES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(EXAMPLE, "docs/regions.md", "exec"), names)
    loop = names["loop"]
    first, second, last = loop.history
    assert first.amount == loop.history[0].spent == 2 * 24 * 24
    assert first.counts == "pixels"
    assert last.picked == []
    assert len(first.picked) == len(second.picked) == 10
    for question in regions_asked(loop.dirpath):
        assert all(4 * 4 <= mask.sum() <= 4 * 9 for mask in question.values())  # ⌈576 · 0.05 / 9⌉ squares


def test_tiles():
    names: dict = {"torch": torch, "SegmentationTask": SegmentationTask}
    exec(compile(TILES, "docs/regions.md", "exec"), names)
    data = names["WithTiles"]([(torch.zeros(3, 4, 6), torch.zeros(4, 6))], side=3)
    upper, lower = [[0] * 3 + [1] * 3] * 3, [[2] * 3 + [3] * 3]
    assert data[0][2].tolist() == upper + lower
    assert names["task"].superpixel_map([part[None] for part in data[0]]).shape == (1, 4, 6)
