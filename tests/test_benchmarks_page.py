"""The guard of the published ratios, and that docs/benchmarks.md has those that are published."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "tests" / "benchmarks"
PUBLISHED = json.loads((SCRIPTS / "published.json").read_text())


@pytest.fixture
def guard(monkeypatch):
    """The script, as it is when it is run: its own folder is where it looks for the others."""
    pytest.importorskip("torchvision")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)
    yield importlib.import_module("guard")
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == SCRIPTS:
            del sys.modules[name]


def test_the_page_has_the_published_ratios(guard):
    page = (ROOT / "docs" / "benchmarks.md").read_text().splitlines()
    lines = guard.table(PUBLISHED)
    assert len(lines) > 20
    assert [line for line in lines if line not in page] == []
    for version in PUBLISHED["by"].values():
        assert any(version in line for line in page), version


def test_every_command_on_the_page_is_there():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    scripts = set(re.findall(r"tests/benchmarks/\w+\.\w+", page))
    assert len(scripts) >= 8
    assert [name for name in scripts if not (ROOT / name).exists()] == []


def test_a_ratio_is_marked_beyond_the_margin_only(guard):
    def ratio(value):
        return guard.Ratio("over another", "python it.py", value)

    published = {"ratios": {name: ratio(1.0)._asdict() for name in ("same", "slower", "faster")}}
    found = {"same": ratio(1.2), "slower": ratio(1.3), "faster": ratio(0.75), "new": ratio(2.0)}
    marks = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ")
        for line in guard.compared(found, published, 0.25)[2:]
    }
    assert marks == {"same": "", "slower": "**slower**", "faster": "faster", "new": "new"}


def test_what_is_measured_anew_takes_the_place_of_what_was_published(guard):
    old = {"by": {"torch": "1.0"}, "ratios": {name: {"of": "", "command": "", "value": 1.0} for name in "ab"}}
    new = guard.merged({"b": guard.Ratio("over c", "it.py", 0.12345)}, old)
    assert new["ratios"] == {"a": old["ratios"]["a"], "b": {"of": "over c", "command": "it.py", "value": 0.123}}
    assert new["by"] == guard.versions()


@pytest.mark.slow
def test_the_guard_runs_in_tiny_form_and_fails_for_nothing(guard, tmp_path, capsys):
    file = tmp_path / "published.json"
    guard.main(["--tiny", "--published", str(file), "--write"])
    first = json.loads(file.read_text())["ratios"]
    assert {"SAAL, lstm-32, loop", "norm, lstm-32, first call", "SAAL, 2 lengths"} <= first.keys()
    assert all(of["value"] > 0 for name, of in first.items() if "step" not in name)
    slowed = {name: {**of, "value": of["value"] / 1000} for name, of in first.items()}
    file.write_text(json.dumps({"ratios": slowed}))
    capsys.readouterr()
    guard.main(["--tiny", "--only", "lengths", "--published", str(file)])
    said = capsys.readouterr().out
    assert said.count("**slower**") == 2
    assert json.loads(file.read_text())["ratios"] == slowed  # nothing is written unasked
