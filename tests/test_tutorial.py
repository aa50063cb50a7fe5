"""The tutorial notebook: kept without outputs, and run whole."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "start" / "tutorial.ipynb"


def test_it_is_kept_without_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell in cells:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
def test_it_runs_and_shows_what_it_says(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=None, startup_timeout=600, kernel_name="python3", resources=resources
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    html = "\n".join(data.get("text/html", "") for data in shown)
    for words in (
        "not started; 20 labels first, 10 a round, 5 rounds; labels from DatasetOracle",
        "the initial set, waiting for 20 labels from AwaitTell",
        "round 0, waiting for 2 labels from AwaitTell; 23 labelled",
        "1 round, Pool(1297 units",
    ):
        assert words in html
    assert sum("<svg" in data.get("text/html", "") for data in shown) >= 2
    assert sum("image/png" in data for data in shown) == 3
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
