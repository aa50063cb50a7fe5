"""What `docs/choosing.md` and the pages of the methods say of the evidence is what its file of runs gives."""

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def choosing():
    spec = importlib.util.spec_from_file_location("choosing", ROOT / "docs" / "choosing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pools(choosing):
    return choosing.read_pools()


def test_the_pages_are_what_the_runs_give(choosing, pools):
    for path, text in choosing.pages(pools).items():
        assert path.read_text() == text, f"{path}: run `python docs/choosing.py`"


def test_every_page_of_a_method_has_its_recipes(choosing):
    said = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} - {"index", "random", "ripu", "risaal"}
    assert set(choosing.PAGES) == said
    assert {method for of in choosing.PAGES.values() for method in of} >= {
        m for p in choosing.read_pools() for m in p.curves
    } - {"random"}


def test_the_table_against_scipy(choosing, pools):
    """A plain reading of the file: means, paired intervals, Holm's correction, the best first."""
    with choosing.RUNS.open() as file:
        runs = sorted(csv.DictReader(file), key=lambda run: int(run["seed"]))
    labels = [str(count) for count in range(20, 221, 20)]
    for pool in pools:
        curves = {}
        for run in runs:
            if run["pool"] == pool.name:
                curves.setdefault(run["method"], []).append([100 * float(run[count]) for count in labels])
        curves = {method: np.array(repeats) for method, repeats in curves.items() if len(repeats) == 5}
        rows = [line.strip("| ").split(" | ") for line in choosing.table(pool).splitlines()[2:]]
        assert [row[0] for row in rows] == sorted(curves, key=lambda method: (-curves[method].mean(), method))
        for first, measure in ((1, lambda curve: curve.mean(1)), (3, lambda curve: curve[:, -1])):
            others = {
                m: stats.ttest_rel(measure(c), measure(curves["random"])) for m, c in curves.items() if m != "random"
            }
            in_order = sorted(others, key=lambda method: others[method].pvalue)
            corrected = np.maximum.accumulate([(len(others) - i) * others[m].pvalue for i, m in enumerate(in_order)])
            for row in rows:
                values = measure(curves[row[0]])
                assert row[first] == f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
                if row[0] == "random":
                    assert row[first + 1] == "-"
                    continue
                interval = others[row[0]].confidence_interval(0.95)
                mean, low, high = map(float, re.findall(r"[+-]\d+\.\d", row[first + 1]))
                exact = np.mean(values - measure(curves["random"])), interval.low, interval.high
                np.testing.assert_allclose((mean, low, high), exact, atol=0.0501)
                assert row[first + 1].startswith("**") == (corrected[in_order.index(row[0])] < 0.05)
