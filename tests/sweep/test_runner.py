"""Jobs as real processes: tiny ones of a shell, which wait for each other by named pipes."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightning_al.sweep import Job, State, run_jobs, runner
from tests.helpers.marks import slow
from tests.helpers.signals import signals_as_ever

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(runner, "_LOOK_EVERY", 0.02)


class Told:
    """Remembers what it was told, and may do something then."""

    def __init__(self, on_change=lambda entry: None):
        self.events, self.on_change = [], on_change

    def changed(self, schedule, entry):
        self.events.append((entry.job.name, entry.state))
        self.on_change(entry)

    def looked(self, schedule):
        pass

    def ending(self, schedule):
        self.events.append("ending")


@dataclass(frozen=True)
class OnceJob(Job):
    """Is done once a file is there."""

    done: Path = Path()

    def is_done(self):
        return self.done.exists()


def shell(name, script, folder, **kwargs):
    return Job(name, ("sh", "-c", script), folder / f"{name}.log", **kwargs)


def run(jobs, slots=1, told=None):
    told = told or Told()
    return run_jobs(jobs, told, [{"SLOT": str(i)} for i in range(slots)]), told


def states(schedule):
    return [entry.state for entry in schedule.entries]


def test_a_job_that_fails_does_not_stop_the_others_and_its_log_says_why(tmp_path):
    jobs = [
        shell("a", "echo out; echo error: no data >&2; exit 3", tmp_path / "x" / "y"),
        shell("b", "echo $SLOT > b", tmp_path),
        Job("c", (str(tmp_path / "missing"),), tmp_path / "c.log"),
        shell("d", "kill -9 $$", tmp_path),
        shell("e", f"echo yes > {tmp_path}/e", tmp_path),
    ]
    jobs[1] = shell("b", f"echo $SLOT > {tmp_path}/b", tmp_path)
    schedule, told = run(jobs)
    assert states(schedule) == [State.FAILED, State.FINISHED, State.FAILED, State.FAILED, State.FINISHED]
    reasons = [entry.reason for entry in schedule.entries]
    assert reasons[0] == "exit code 3: error: no data"
    assert "could not be started" in reasons[2]
    assert reasons[3] == "SIGKILL: it said nothing"
    assert jobs[0].log.read_text().splitlines()[1:] == ["out", "error: no data"]
    assert (tmp_path / "b").read_text().strip() == "0"
    assert (tmp_path / "e").exists()
    assert told.events[:3] == [("a", State.RUNNING), ("a", State.FAILED), ("b", State.RUNNING)]


def test_an_end_that_cannot_be_noted_is_that_jobs_failure(tmp_path):
    class Full(Job):
        def end(self):
            raise OSError(28, "No space left on device")

    schedule, _ = run([Full("a", ("true",), tmp_path / "a.log"), shell("b", "true", tmp_path)])
    assert states(schedule) == [State.FAILED, State.FINISHED]
    assert "could not be noted: [Errno 28] No space left" in schedule.entries[0].reason


def test_a_log_that_cannot_be_written_is_that_jobs_failure(tmp_path):
    (tmp_path / "file").write_text("")
    schedule, _ = run([shell("a", "true", tmp_path / "file"), shell("b", "true", tmp_path)])
    assert states(schedule) == [State.FAILED, State.FINISHED]


def test_as_many_run_as_there_are_slots_each_with_its_variables(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    # each waits for the other: they end only if they run at the same time
    jobs = [
        shell("a", f"echo $SLOT > {tmp_path}/a; echo go > {tmp_path}/pipe", tmp_path),
        shell("b", f"echo $SLOT > {tmp_path}/b; read x < {tmp_path}/pipe", tmp_path),
    ]
    schedule, _ = run(jobs, slots=2)
    assert states(schedule) == [State.FINISHED] * 2
    assert {(tmp_path / name).read_text().strip() for name in "ab"} == {"0", "1"}


def test_what_is_done_is_not_run_and_gets_no_log(tmp_path):
    job = OnceJob("a", ("sh", "-c", "exit 1"), tmp_path / "a.log", done=tmp_path)
    schedule, told = run([job])
    assert states(schedule) == [State.FINISHED]
    assert told.events == [("a", State.FINISHED)]
    assert not job.log.exists()


@pytest.mark.parametrize("first_succeeds", [True, False])
def test_two_at_once_do_not_run_the_same_job(tmp_path, first_succeeds):
    os.mkfifo(tmp_path / "pipe")
    done = tmp_path / "done"
    # the first to run it waits for the second sweep; a run after that one's failure does not
    script = (
        f"cd {tmp_path}; echo x >> runs; test $(wc -l < runs) = 1 || {{ touch done; exit 0; }}; read how < pipe; "
        '[ "$how" = good ] || exit 1; touch done'
    )
    job = OnceJob("a", ("sh", "-c", script), tmp_path / "a.log", done=done)

    def release(entry):
        if entry.state is State.ELSEWHERE:
            (tmp_path / "pipe").write_text("good\n" if first_succeeds else "bad\n")

    begun = threading.Event()
    results = {}

    def first():
        told = Told(lambda entry: begun.set())
        results["first"] = run([job], told=told)

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait()
    schedule, told = run([job], told=Told(release))
    thread.join()
    assert told.events.count(("a", State.ELSEWHERE)) == 1
    assert states(schedule) == [State.FINISHED]
    assert states(results["first"][0]) == [State.FINISHED if first_succeeds else State.FAILED]
    assert (tmp_path / "runs").read_text() == ("x\n" if first_succeeds else "x\nx\n")


SWEEP = """
import sys
from pathlib import Path
from lightning_al.sweep import Interrupted, Job, State, run_jobs

class Say:
    def changed(self, schedule, entry):
        pass
    def looked(self, schedule):
        pass
    def ending(self, schedule):
        print("ending", len(schedule.of(State.RUNNING)))

folder = Path(sys.argv[1])
jobs = [Job(name, ("sh", "-c", sys.argv[2]), folder / f"{name}.log") for name in "ab"]
try:
    run_jobs(jobs, Say(), [{}])
except Interrupted as error:
    print(error)
    sys.exit(128 + error.number)
"""


def begin(tmp_path, script):
    """A process that runs two jobs, one after the other, once the first has begun."""
    os.mkfifo(tmp_path / "begun")
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(tmp_path), script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=signals_as_ever,
    )
    with open(tmp_path / "begun") as begun:
        pid = int(begun.read())
    return process, pid


@pytest.mark.parametrize("number", [signal.SIGINT, slow(signal.SIGTERM), slow(signal.SIGHUP)])
def test_a_signal_ends_the_jobs_and_all_that_they_started(tmp_path, number):
    script = (
        f"cd {tmp_path}; trap 'echo asked > asked; exit 1' TERM; mkfifo never; (read x < never) & "
        "echo $! > begun; while :; do wait; done"
    )
    process, pid = begin(tmp_path, script)
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number
    assert said == f"ending 1\nended by {number.name}\n"
    assert (tmp_path / "asked").exists()
    assert not (tmp_path / "b.log").exists()
    with pytest.raises(ProcessLookupError):  # a child of the job
        while True:  # its parent has ended: init takes it away
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                raise ProcessLookupError


def test_jobs_are_ended_too_where_nothing_can_be_said_any_more(tmp_path):
    class Gone(Told):
        def changed(self, schedule, entry):
            raise BrokenPipeError

        def ending(self, schedule):
            raise OSError("the terminal is gone")

    os.mkfifo(tmp_path / "never")
    with pytest.raises(OSError, match="the terminal is gone"):
        run([shell("a", f"read x < {tmp_path}/never", tmp_path)], told=Gone())
    # its lock is free, so that it has ended
    schedule, _ = run([shell("a", "true", tmp_path)])
    assert states(schedule) == [State.FINISHED]


def test_jobs_of_a_killed_process_go_on_and_are_not_run_twice(tmp_path):
    process, _ = begin(tmp_path, f"cd {tmp_path}; mkfifo pipe; echo x >> runs; echo $$ > begun; read x < pipe")
    process.kill()
    process.wait()

    def release(entry):
        if entry.state is State.ELSEWHERE:
            (tmp_path / "pipe").write_text("go\n")

    job = shell("a", f"echo y >> {tmp_path}/runs", tmp_path)
    schedule, told = run([job], told=Told(release))
    assert told.events[0] == ("a", State.ELSEWHERE)
    assert (tmp_path / "runs").read_text() == "x\ny\n"
