"""Two launches of one campaign at once: the second is refused before it trains, whoever began them."""

import os
import signal
import subprocess
import sys

import pytest

from lightning_al.campaign import one_launch as module
from lightning_al.campaign.one_launch import LOCK, one_launch
from tests.helpers.ledger import begin
from tests.helpers.projects import loop_in, make_trainer


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.0)


@pytest.fixture
def folder(tmp_path):
    begin(tmp_path / "c")
    return tmp_path / "c"


HOLDS = """
import sys
from pathlib import Path
from lightning_al.campaign.one_launch import one_launch
with one_launch(Path(sys.argv[1]), 1):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_another_process_is_refused_until_the_first_has_ended(folder, end):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "has it\n"
    for _ in range(2):  # the one that was refused took nothing away
        with (
            pytest.raises(
                FileExistsError, match=rf"goes on in another process \(process {holder.pid} on .*\)\. Nothing"
            ),
            one_launch(folder, 1),
        ):
            pass
    if end == "killed":
        os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with one_launch(folder, 1):
        assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert not (folder / LOCK).exists()


def test_workers_that_were_forked_do_not_keep_it(folder):
    with one_launch(folder, 1):
        worker = os.fork()
        if worker == 0:
            signal.pause()
            os._exit(0)
    with one_launch(folder, 1):
        pass
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)


def test_what_was_written_since_it_was_read_is_not_gone_over(folder):
    with (
        pytest.raises(FileExistsError, match=r"wrote to the campaign in .* while this one began"),
        one_launch(folder, 0),
    ):
        pass
    assert not (folder / LOCK).exists()


def test_without_locks_it_goes_on(folder, monkeypatch):
    def refuse(*args):
        raise OSError("no locks here")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with one_launch(folder, 1), one_launch(folder, 1):
        pass
    assert not (folder / LOCK).exists()


def test_a_launch_is_refused_before_it_trains(tmp_path):
    loop_in(tmp_path, rounds=0).run(make_trainer(tmp_path, max_epochs=1))
    loop = loop_in(tmp_path, rounds=1)
    model = loop.model
    starts = []
    model.on_train_start = lambda: starts.append(1)
    with one_launch(tmp_path / "c", len(list((tmp_path / "c" / "ledger").glob("*.json")))):
        for launch in (loop.run, loop.ask):
            kwargs = {"resume": True} if launch == loop.run else {}
            with pytest.raises(FileExistsError, match="goes on in another process"):
                launch(make_trainer(tmp_path, max_epochs=1), **kwargs)
    assert starts == []
    assert len(loop.run(make_trainer(tmp_path, max_epochs=1), resume=True)) == 2
    assert starts == [1]
