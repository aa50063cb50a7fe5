"""The Python of docs/large.md runs, and its Slurm script is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import lightning_al
from lightning_al.acquisition import Entropy
from tests.helpers.projects import Net, make_trainer
from tests.helpers.scored import X

PAGE = (Path(__file__).parents[1] / "docs" / "large.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block, "large", "exec"), names)
    assert len(names["scores"].key) == 20
    assert all(re.fullmatch(r"click-\d+", key) for key in names["scores"].key)
    whole = names["ByIndex"](torch.utils.data.TensorDataset(X), len(X))
    assert len(lightning_al.score(Net(), whole, Entropy(), 3, trainer=make_trainer(tmp_path)).picks) == 3


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_is_one(tmp_path):
    [script] = [block for block in blocks("bash") if "#SBATCH" in block]
    (tmp_path / "job.sh").write_text(script)
    done = subprocess.run(["bash", "-n", "job.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
