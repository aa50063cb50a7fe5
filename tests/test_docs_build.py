"""The pages are built without a warning, and need no network to be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_al

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    pytest.importorskip("sphinx")
    target = tmp_path_factory.mktemp("html")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
def test_nothing_comes_from_elsewhere(html):
    pages = sorted(html.rglob("*.html"))
    assert len(pages) > 90
    for page in pages:
        text = page.read_text()
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), (page.name, tag)


@pytest.mark.slow
def test_every_public_name_can_be_looked_up(html):
    from sphinx.util.inventory import InventoryFile

    with (html / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, name: name)
    known = {name.rpartition(".")[2] for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    rooms = {room: getattr(lightning_al, room) for room in lightning_al._ROOMS}
    names = {room: getattr(module, "__all__", []) for room, module in rooms.items()}
    missing = {f"{room}.{name}" for room, listed in names.items() for name in listed if name not in known}
    assert missing | (set(lightning_al.__all__) - known) == set()


@pytest.mark.slow
def test_examples_show_pictures(html):
    for example in (ROOT / "docs" / "examples").glob("plot_*.py"):
        assert "sphx_glr_" in (html / "gallery" / f"{example.stem}.html").read_text()
