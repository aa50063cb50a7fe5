"""Two launches of one campaign at once: the second is refused before it trains, whoever began them."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from lightning_al.campaign import one_launch as module
from lightning_al.campaign.one_launch import LOCK, one_launch
from tests.helpers.ledger import begin
from tests.helpers.projects import SIZE, Data, loop_in, make_trainer


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
with one_launch(Path(sys.argv[1])):
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
            one_launch(folder),
        ):
            pass
    if end == "killed":
        os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with one_launch(folder):
        assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert not (folder / LOCK).exists()


def test_workers_that_were_forked_do_not_keep_it(folder):
    with one_launch(folder):
        worker = os.fork()
        if worker == 0:
            signal.pause()
            os._exit(0)
    with one_launch(folder):
        pass
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)


def test_a_lock_that_somebody_removed_is_not_taken_from_the_next_launch(folder):
    with one_launch(folder):
        (folder / LOCK).unlink()
        following = contextlib.ExitStack()
        following.enter_context(one_launch(folder))
    assert (folder / LOCK).exists()
    following.close()
    assert not (folder / LOCK).exists()


def test_without_locks_it_goes_on(folder, monkeypatch):
    def refuse(*args):
        raise OSError("no locks here")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with one_launch(folder), one_launch(folder):
        pass
    assert not (folder / LOCK).exists()


def test_within_a_launch_it_is_said_that_it_is_this_process(folder):
    with one_launch(folder), pytest.raises(FileExistsError, match="in this very process"), one_launch(folder):
        pass


def test_a_launch_is_refused_before_it_trains_or_writes(tmp_path):
    loop_in(tmp_path, rounds=0).run(make_trainer(tmp_path, max_epochs=1))
    loop = loop_in(tmp_path, data=Data(n=SIZE + 10), rounds=1)  # more samples, which the ledger would take note of
    model = loop.model
    starts = []
    model.on_train_start = lambda: starts.append(1)
    events = _events(tmp_path / "c")
    with one_launch(tmp_path / "c"):
        for launch in (loop.run, loop.ask):
            kwargs = {"resume": True} if launch == loop.run else {}
            with pytest.raises(FileExistsError, match="goes on in"):
                launch(make_trainer(tmp_path, max_epochs=1), **kwargs)
    assert starts == []
    assert _events(tmp_path / "c") == events
    assert len(loop.run(make_trainer(tmp_path, max_epochs=1), resume=True)) == 2
    assert starts == [1]


def test_a_folder_in_which_another_launch_begins_is_left_alone(tmp_path):
    with one_launch(tmp_path / "c"), pytest.raises(FileExistsError, match="goes on in"):
        loop_in(tmp_path).run(make_trainer(tmp_path, max_epochs=1))
    assert list((tmp_path / "c").iterdir()) == []


def _events(folder):
    return sorted(path.name for path in (folder / "ledger").glob("*.json"))
