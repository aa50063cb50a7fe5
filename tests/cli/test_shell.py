"""A campaign by nothing but the shell: a folder that grows, shrinks and is reordered, and people who fill in tables."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.files import CLASSES, fill, recipe, truth

ROOT = Path(__file__).parents[2]


def shell(folder, *words, fails=False):
    done = subprocess.run(
        [sys.executable, "-m", "lightning_al", *map(str, words)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def keys_in(path):
    with open(path, newline="") as file:
        return [row["key"] for row in csv.DictReader(file)]


def write(path, said, delimiter=",", encoding="utf-8"):
    lines = ["key,label,annotator", *(",".join(row) for row in said)]
    Path(path).write_text("\n".join(lines).replace(",", delimiter) + "\n", encoding=encoding)


def status(folder):
    return json.loads(shell(folder, "status", "runs/5", "--json"))


@pytest.mark.slow
def test_a_campaign_over_process_starts(tmp_path):
    pool, project = tmp_path / "pool", recipe(tmp_path)
    fill(pool, range(20))
    known = {}

    def ask(*flags, **kwargs):
        shell(tmp_path, "ask", "-c", project, "--export", "q.csv", *flags, **kwargs)
        return keys_in(tmp_path / "q.csv")

    first = ask()
    assert len(first) == 4
    assert ask() == first
    # half of it, in Excel's way; the folder grows before the other half is told
    write(tmp_path / "anna.csv", [(key, truth(key), "anna") for key in first[:2]], ";", "utf-16")
    shell(tmp_path, "tell", "-c", project, "anna.csv")
    fill(pool, range(100, 112))
    assert set(ask()) == set(first[2:])
    assert status(tmp_path)["samples"] == 32
    write(tmp_path / "ben.csv", [(key, truth(key), "ben") for key in first[2:]])
    shell(tmp_path, "tell", "runs/5", "ben.csv")
    known |= {key: truth(key) for key in first}

    # another order, and a sample that was never asked for is gone
    second = ask("-k", "3", "--data.init_args.backwards=true")
    assert len(second) == 3
    assert not set(second) & known.keys()
    free = next(path for path in sorted(pool.rglob("*.txt")) if path.relative_to(pool).as_posix() not in first + second)
    free.unlink()
    # a pending sample goes: it is asked for no more, and cannot be told
    (pool / second[0]).unlink()
    assert set(ask()) == set(second[1:])
    write(tmp_path / "carl.csv", [(key, truth(key), "carl") for key in second])
    before = status(tmp_path)
    error = shell(tmp_path, "tell", "-c", project, "carl.csv", fails=True)
    assert f"line 2: {second[0]!r} was not in the data any more" in error
    assert status(tmp_path) == before
    shell(tmp_path, "tell", "-c", project, "carl.csv", "--partial")
    known |= {key: truth(key) for key in second[1:]}

    # two people of one mind and one of another, and a class that there is not
    third = ask("-k", "2")
    write(
        tmp_path / "all.csv",
        [(third[0], CLASSES[0], who) for who in ("anna", "ben")] + [(third[0], CLASSES[1], "carl")],
    )
    shell(tmp_path, "tell", "-c", project, "all.csv", "--agreement=majority")
    write(tmp_path / "bad.csv", [(third[1], "cow", "ben")])
    assert "no class 'cow'" in shell(tmp_path, "tell", "-c", project, "bad.csv", fails=True)
    write(tmp_path / "skip.csv", [(third[1], "skip", "ben")])
    shell(tmp_path, "tell", "-c", project, "skip.csv")
    known[third[0]] = CLASSES[0]

    end = status(tmp_path)
    assert (end["labelled"], end["pending"], end["skipped"], end["spent"]) == (len(known), 0, 1, len(known))
    assert end["rounds"] == 2
    assert end["annotators"]["ben"]["skip"] == 1
    assert end["annotators"]["carl"][CLASSES[1]] >= 1
    # `run` goes on from here, and the ledger has every label by its file
    shell(tmp_path, "run", "-c", project, "--resume")
    from lightning_al.campaign import Standing

    standing = Standing(tmp_path / "runs" / "5")
    assert {standing.name(unit): standing.annotation(unit) for unit in standing.units("labelled")} == known
    assert len(standing.units("pending")) == 3
