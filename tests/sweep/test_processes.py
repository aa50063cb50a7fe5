"""A fork does what a program of its own does: the same commands both ways."""

import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from lightning_al.sweep import State, processes, run_jobs
from lightning_al.sweep.jobs import Job
from lightning_al.sweep.processes import Forks, end_group, start_program
from tests.sweep.test_runner import Told

COMMAND = """
import atexit, heavy, os, random, sys
import numpy as np
if __name__ == "__main__":
    import __main__
    atexit.register(print, "at exit")
    print(sys.argv[1:], __main__.__spec__.name, __main__ is sys.modules["__main__"], sys.path[0] == os.getcwd())
    print(os.environ["SLOT"], os.environ["OMP_NUM_THREADS"], os.getpgid(0) == os.getpid())
    print(sys.stdin.read() == "", file=sys.stderr)
    how = sys.argv[1]
    if how == "fails":
        raise ValueError("no data")
    if how == "exits":
        sys.exit(3)
    if how == "killed":
        os.kill(os.getpid(), 9)
    if how == "random":
        print(random.random(), np.random.random())
    if how == "waits":
        open(sys.argv[2], "w").write(str(os.getpid()))
        open(sys.argv[3]).read()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``command`` that can be run, and ``heavy``, which writes a line when it is imported."""
    (tmp_path / "command").mkdir()
    (tmp_path / "command" / "__init__.py").write_text("")
    (tmp_path / "command" / "__main__.py").write_text(COMMAND)
    (tmp_path / "heavy.py").write_text(f"open({str(tmp_path / 'imports')!r}, 'a').write('x')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return tmp_path


@pytest.fixture
def forks(package):
    with Forks(["heavy", "numpy"], {"OMP_NUM_THREADS": "1"}) as forks:
        yield forks


def started(start, folder, *args):
    """A command that was started, and its log."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        words = (sys.executable, "-m", "command", *args)
        return start(words, file, {"SLOT": "1", "OMP_NUM_THREADS": "1"}), log


def outcome(start, folder, *args):
    process, log = started(start, folder, *args)
    return process.wait(), log.read_text()


def test_a_fork_says_and_ends_as_a_program_does(forks, package):
    expected = {"ends": 0, "fails": 1, "exits": 3, "killed": -signal.SIGKILL}
    for how, code in expected.items():
        as_program = outcome(start_program, package, how, "a b")
        as_fork = outcome(forks.start, package, how, "a b")
        assert as_program[0] == as_fork[0] == code
        # a traceback of a fork has the frames of what ran it above
        said, same = (each.replace("<frozen runpy>", "runpy").splitlines() for each in (as_program[1], as_fork[1]))
        assert same[:3] == said[:3] == [f"['{how}', 'a b'] command.__main__ True True", "1 1 True", "True"]
        assert same[-2:] == said[-2:]
        assert ("at exit" in said) == (how != "killed")


@pytest.mark.skipif(not processes._CAN_FORK, reason="processes are not forked on this system")
def test_what_forks_need_is_imported_once(forks, package):
    for _ in range(3):
        assert outcome(forks.start, package, "ends")[0] == 0
    assert (package / "imports").read_text() == "x"
    assert outcome(start_program, package, "ends")[0] == 0
    assert (package / "imports").read_text() == "xx"


def test_no_two_forks_draw_the_same_random_numbers(forks, package):
    drawn = [outcome(forks.start, package, "random")[1].splitlines()[3] for _ in range(3)]
    assert len({number for line in drawn for number in line.split()}) == 6


@pytest.mark.parametrize("way", ["program", "fork"])
def test_its_log_is_locked_until_it_ends_and_a_signal_to_its_group_ends_it(forks, package, way):
    begun, never = package / "begun", package / "never"
    os.mkfifo(begun)
    os.mkfifo(never)
    process, log = started(forks.start if way == "fork" else start_program, package, "waits", str(begun), str(never))
    assert int(begun.read_text()) == process.pid
    with log.open("ab") as again:
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        end_group(process, signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        fcntl.flock(again, fcntl.LOCK_EX)


def test_forks_go_on_when_nobody_starts_any_more(package):
    begun, pipe = package / "begun", package / "pipe"
    os.mkfifo(begun)
    os.mkfifo(pipe)
    with Forks(["heavy"], {"OMP_NUM_THREADS": "1"}) as forks:
        process, log = started(forks.start, package, "waits", str(begun), str(pipe))
        assert int(begun.read_text()) == process.pid
    pipe.write_text("go on")
    with log.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    assert "at exit" in log.read_text()


@pytest.mark.skipif(not processes._CAN_FORK, reason="processes are not forked on this system")
def test_it_ends_with_who_asks_while_it_imports_for_long(package):
    begun = package / "begun"
    os.mkfifo(begun)
    (package / "endless.py").write_text(f"import time; open({str(begun)!r}, 'w').write('x'); time.sleep(3600)")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", "lightning_al.sweep.fork_server", str(theirs.fileno()), "endless"]
    with subprocess.Popen(words, pass_fds=[theirs.fileno()]) as server:
        theirs.close()
        begun.read_text()
        ours.close()
        assert server.wait() == 0


def test_where_the_process_that_forks_has_ended_commands_are_programs(package):
    with Forks(["no_such_module"], {}) as forks:
        assert outcome(forks.start, package, "exits")[0] == 3
        assert outcome(forks.start, package, "ends")[0] == 0


def test_other_commands_are_programs(forks, package):
    with (package / "other.log").open("wb") as log:
        assert forks.start(("sh", "-c", "exit 4"), log, {}).wait() == 4
        with pytest.raises(FileNotFoundError):
            forks.start((str(package / "missing"),), log, {})


def test_where_no_process_may_be_forked_commands_are_programs(forks, package, monkeypatch):
    monkeypatch.setattr(processes, "_CAN_FORK", False)
    assert outcome(forks.start, package, "exits")[0] == 3
    assert (package / "imports").read_text() == "x"  # by the command
    assert outcome(forks.start, package, "ends")[0] == 0
    assert (package / "imports").read_text() == "xx"


def test_jobs_are_run_by_forks(forks, package):
    jobs = [
        Job(how, (sys.executable, "-m", "command", how), package / f"{how}.log")
        for how in ("ends", "fails", "exits", "killed", "random")
    ]
    schedule = run_jobs(jobs, Told(), [{"SLOT": str(i), "OMP_NUM_THREADS": "1"} for i in range(2)], forks.start)
    states = [entry.state for entry in schedule.entries]
    assert states == [State.FINISHED, State.FAILED, State.FAILED, State.FAILED, State.FINISHED]
    assert [entry.reason for entry in schedule.entries[1:4]] == [
        "exit code 1: at exit",
        "exit code 3: at exit",
        "SIGKILL: True",
    ]
