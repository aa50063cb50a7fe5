import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from lightning_al.cli import main
from lightning_al.reproduction import pages
from tests.helpers.curves import write_campaign
from tests.helpers.recipes import RECIPES
from tests.helpers.results import write_data, write_recipes
from tests.helpers.stand_in import stand_in_for_python
from tests.sweep.test_campaigns import finish

# In place of Python: a run copies a finished campaign of its method, unless there is none; a diagnosis writes a table.
STAND_IN = """#!/bin/sh
case "$3" in
run) for word; do case $word in --loop.dirpath=*) folder=${word#--loop.dirpath=};; esac; done
  echo "run $folder" >> ran
  from=finished/$(basename $(dirname $folder))
  [ -e $from ] || { echo error: no such thing; exit 2; }
  mkdir -p $folder && cp -r $from/. $folder;;
diagnose) for word; do case $word in --output=*) folder=${word#--output=};; esac; done
  echo "diagnose $folder" >> ran
  printf 'campaign,round,gap\\nrandom,1,0.25\\nbadge,1,0.5\\n' > $folder/gap.csv;;
*) [ $# = 4 ] && cp findings "$4";;
esac
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With recipes, data, and runs that cost nothing."""
    monkeypatch.chdir(tmp_path)
    stand_in_for_python(tmp_path, STAND_IN, monkeypatch)
    monkeypatch.setattr(pages, "plot", lambda *args: None)
    monkeypatch.setattr("lightning_al.reproduction.reporting.draw_beside", lambda *args: None)
    write_recipes(tmp_path / "recipes")
    write_data(tmp_path / "data")
    Path("findings").write_text("[]\n")
    for method, values in {"random": [0.5, 0.7], "badge": [0.6, 0.8], "badge_small": [0.4, 0.9]}.items():
        write_campaign(tmp_path / "finished" / method, values)
        finish(tmp_path / "finished" / method, 1)
    return tmp_path


def reproduce(*words):
    main(["reproduce", *words])


def ran():
    path = Path("ran")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_runs_then_the_table_and_nothing_twice(folder, capsys):
    reproduce("toy/table-1", "--only", "cubes-adam")
    said = capsys.readouterr().out
    below = "runs/reproduce/runs/cubes"
    assert ran() == [f"run {below}/{method}/seed_{seed}" for seed in (0, 1) for method in ("random", "badge")]
    assert "| cubes-adam | badge  | maximum over rounds | 82.5 ± 1.0    | 80.0 ± 0.0 | 2 " in said
    assert "Tables, pictures and runs: runs/reproduce/toy/table-1/index.md" in said
    reproduce("toy/table-1", "--only", "cubes-adam")
    reproduce("toy/figure-1", "--only", "cubes-adam")  # of the same runs
    assert ran() == []
    reproduce("toy/table-1", "--only", "cubes-adam", "--seeds", "2..2", "--methods", "badge")
    assert ran() == [f"run {below}/badge/seed_2"]


def test_the_small_form_says_that_it_is_not_the_papers(folder, capsys):
    reproduce("toy/table-1", "--small", "--only", "cubes-adam", "--seeds", "1", "--dirpath", "x", "--data.root", "data")
    said = capsys.readouterr().out
    assert ran() == ["run x/runs/small/random/seed_0", "run x/runs/small/badge_small/seed_0"]
    assert "not the paper's network, budget or training" in said
    assert re.search(r"badge +\| maximum over rounds +\| 82.5 ± 1.0 +\| 90.0 +\| 1 +\| \+2.5 +\| \+20.0", said)
    assert "not the paper's" in Path("x/toy/table-1_small/index.md").read_text()


def test_of_what_cannot_all_run_the_rest_does(folder, capsys):
    reproduce("toy/table-1", "--seeds", "1", "--methods", "random")
    assert "Left out: balls-adam, which lacks Balls, the package no_such_package" in capsys.readouterr().out
    assert ran() == [f"run runs/reproduce/runs/cubes{of}/random/seed_0" for of in ("", "+sam+snr=0.05")]


def test_a_diagnosis_follows_the_runs_and_is_not_made_twice(folder, capsys):
    reproduce("toy/table-3", "--seeds", "1")
    weights = "runs/reproduce/runs/cubes+weights"
    assert ran() == [
        *(f"run {weights}/{method}/seed_0" for method in ("random", "badge")),
        "diagnose runs/reproduce/diagnoses/cubes+weights/gap/random+badge/seed_0",
    ]
    assert re.search(r"random \| training less test accuracy, round 1 \| 9.5 +\| 25.0 +\| 1 ", capsys.readouterr().out)
    reproduce("toy/table-3", "--seeds", "1")
    assert ran() == []


def test_what_fails_is_named_and_the_rest_is_in_the_table(folder, capsys):
    (folder / "finished" / "badge").rename(folder / "hidden")
    with pytest.raises(SystemExit, match="1 job failed") as ended:
        reproduce("toy/table-1", "--only", "cubes-adam", "--seeds", "1")
    assert ended.value.code != 0
    said = capsys.readouterr().out
    assert "| cubes-adam: badge, seed 0 | exit code 2: error: no such thing |" in said
    assert re.search(r"random +\| maximum over rounds \| 80.0 ± 0.5 +\| 70.0 ", said)
    assert "Not one round is done of 1 run." in said


def test_without_a_run_there_is_the_table_of_what_is_there(folder, capsys):
    reproduce("toy/table-1", "--only", "cubes-adam", "--no-run")
    assert ran() == []
    assert re.search(r"random +\| maximum over rounds \| 80.0 ± 0.5 +\| - +\| 0 ", capsys.readouterr().out)


def test_commands_are_printed_for_any_scheduler(folder, capsys):
    reproduce("--loop.rounds", "2", "toy/table-1", "--only=sam", "--print-commands", "--seeds", "1", "--gpus", "3")
    lines = capsys.readouterr().out.splitlines()
    assert ran() == []
    assert not Path("runs").exists()
    assert len(lines) == 2
    assert all(line.startswith(f"cd {Path.cwd()} && OMP_NUM_THREADS=") for line in lines)
    assert all("CUDA_VISIBLE_DEVICES=3" in line and "--loop.rounds 2 --loop.seed=0" in line for line in lines)


def test_a_list_of_all_or_of_one_paper(folder, capsys):
    reproduce()
    everything = capsys.readouterr().out
    reproduce("toy")
    assert capsys.readouterr().out == everything
    assert everything.count("\ntoy/") == 7


def test_all_that_is_wrong_is_said_at_once_before_anything_runs(folder):
    with pytest.raises(SystemExit) as refused:
        reproduce("toy/table-1", "--only=cube", "--methods=bagde", "--jobs=0", "--seeds=1..x", "--gpus=,")
    said = str(refused.value)
    assert said.startswith("error: 5 things cannot be as they are:")
    assert all(word in said for word in ("`--only`", "did you mean badge?", "`--jobs`", "`--seeds`", "`--gpus`"))
    with pytest.raises(SystemExit, match=r"no result 'toy/table1'. Did you mean toy/table-1"):
        reproduce("toy/table1")
    Path("findings").write_text('["cubes-adam: badge: no such class"]\n')
    with pytest.raises(SystemExit, match="error: cubes-adam: badge: no such class"):
        reproduce("toy/table-1", "--only", "cubes-adam")
    with pytest.raises(SystemExit, match="no published results in elsewhere"):
        reproduce("--recipes", "elsewhere")
    assert ran() == []
    assert not Path("runs").exists()


@pytest.mark.parametrize("words", [["more"], ["--smal"], ["--modle.x=1"]])
def test_an_unknown_argument_is_refused(folder, words, capsys):
    with pytest.raises(SystemExit):
        reproduce("toy/table-1", *words)
    assert re.match("error: (Nothing takes|There is no option) ", capsys.readouterr().err)


def write_idx(path, values):
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


def write_fashion(root):
    """Forty images of each of ten classes, bright where the class says, and twenty to test on."""
    root.mkdir()
    draws = np.random.default_rng(0)
    for split, count in (("train", 400), ("t10k", 200)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = draws.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 8, 4:24] += 150
        write_idx(root / f"{split}-images-idx3-ubyte", images)
        write_idx(root / f"{split}-labels-idx1-ubyte", labels)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_small_forms_run_for_real(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_fashion(tmp_path / "fashion")
    flags = ["--small", "--data.root=fashion", "--trainer.max_epochs=3", "--loop.rounds=1", "--recipes", str(RECIPES)]
    reproduce("saal/table-1", "--methods=random,saal", "--only=fashion_mnist", "--seeds=2", "--jobs=2", *flags)
    said = capsys.readouterr().out
    row = r"fashion_mnist-(adam|sam) +\| (\w+) +\| maximum over rounds \| [\d.]+ ± [\d.]+ +\| ([\d.]+)"
    rows = re.findall(row, said)
    assert [row[:2] for row in rows] == [(way, method) for way in ("adam", "sam") for method in ("random", "saal")]
    assert all(20 < float(accuracy) <= 100 for *_, accuracy in rows)
    reproduce("saal/figure-5", "--methods", "random", "--seeds", "1", *flags)
    assert "λ₁" in capsys.readouterr().out
    folder = tmp_path / "runs" / "reproduce"
    [landscape] = (folder / "diagnoses" / "fashion_mnist" / "small+weights").glob(
        "landscape+*/random/seed_0/landscape.png"
    )
    for picture in (folder / "saal" / "table-1_small" / "fashion_mnist-sam_curves.png", landscape):
        assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "--points=11" in json.loads((landscape.parent / "diagnosed.json").read_text())["command"]
