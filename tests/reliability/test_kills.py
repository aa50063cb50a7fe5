"""Some of what `make kills` does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
KINDS = [
    "QueryByCommittee",
    "VAAL",
    "Entropy of masks",
    "RIPU",
    "Entropy, 2 processes",
]  # together they have every stage


def strike(*arguments):
    """In an interpreter that has asked for no device yet: what is forked from one that has may not fork in turn."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.reliability.kills", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_killed_campaign_goes_on_as_if_it_had_not_been():
    done = strike("1", "--kinds", "Entropy")
    assert re.search(r"(?m)^all +1 / 1$", done.stdout), done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_killed_campaigns_go_on_as_if_they_had_not_been():
    done = strike("12", "--kinds", *KINDS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.split()[-4:] == ["all", "12", "/", "12"]
    stages = [line.split("  ")[0] for line in done.stdout.split("\n\n")[0].splitlines()[1:]]
    assert len(stages) == 12  # one of each
