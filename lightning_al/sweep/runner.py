"""Jobs as processes: started side by side, each alone with its log, and ended together."""

import contextlib
import fcntl
import queue
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from lightning_al.sweep.jobs import Job
from lightning_al.sweep.processes import Process, Start, end_group, start_program
from lightning_al.sweep.schedule import Entry, Schedule, State
from lightning_al.words import cut

_LOOK_EVERY = 1.0  # seconds between two looks at how far jobs are
_GRACE = 15.0  # seconds that a job has to end by itself
_TAIL = 4096  # bytes of a log in which the reason of a failure is looked for


class Interrupted(Exception):
    """A signal ended all jobs.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")


class Watcher(Protocol):
    """Is told what happens."""

    def changed(self, schedule: Schedule, entry: Entry) -> None:
        """A job was started, or ended, or is run by another process."""

    def looked(self, schedule: Schedule) -> None:
        """Some time went by."""

    def ending(self, schedule: Schedule) -> None:
        """A signal came: what runs is asked to end."""


def run_jobs(
    jobs: Sequence[Job], watcher: Watcher, slots: Sequence[Mapping[str, str]], start: Start = start_program
) -> Schedule:
    """Run commands side by side until each has ended, and return what became of them.

    A job that fails does not stop the others. One that another process runs meanwhile (its log is locked) is left to
    that, and looked at again when all others have ended.

    Args:
        jobs: In the order in which they start.
        watcher: Is told what happens.
        slots: As many jobs run at a time as there are slots; each adds its variables to the environment of the job
            that is in it.
        start: Starts a command.

    Raises:
        Interrupted: If SIGINT, SIGTERM or SIGHUP came; all jobs have been ended then.
    """
    schedule = Schedule(jobs, len(slots))
    processes = _Processes(slots, start)
    with _signals_given_to(processes):
        try:
            _run(schedule, processes, watcher)
        except BaseException:
            try:
                watcher.ending(schedule)
            finally:  # the terminal may be gone
                processes.end_all()
            raise
    return schedule


def _run(schedule: Schedule, processes: "_Processes", watcher: Watcher) -> None:
    for entry in schedule.entries:
        schedule.see(entry, entry.job.progress(), time.monotonic())
    elsewhere: set[str] = set()
    while True:
        while (next_one := schedule.next_to_start()) is not None:
            _start(schedule, processes, next_one)
            if next_one.state is not State.ELSEWHERE or next_one.job.name not in elsewhere:  # else it was told
                watcher.changed(schedule, next_one)
            if next_one.state is State.ELSEWHERE:
                elsewhere.add(next_one.job.name)
        if schedule.is_over:
            return
        watcher.looked(schedule)
        ended = processes.wait(_LOOK_EVERY)
        if ended is not None:
            entry = next(entry for entry in schedule.of(State.RUNNING) if entry.job.name == ended)
            _note_end(schedule, entry, processes.take(ended))
            watcher.changed(schedule, entry)
        for entry in schedule.of(State.RUNNING, State.ELSEWHERE):
            schedule.see(entry, entry.job.progress(), time.monotonic())
        if not schedule.of(State.RUNNING, State.WAITING):
            schedule.look_again()


def _start(schedule: Schedule, processes: "_Processes", entry: Entry) -> None:
    now = time.monotonic()
    try:
        log = None if entry.job.is_done() else _locked(entry.job.log)
        with log or contextlib.nullcontext():
            if entry.job.is_done():  # once more: another process may have finished it before its log was free
                schedule.see(entry, entry.job.progress(), now)
                schedule.end(entry, State.FINISHED, now)
            elif log is None:
                schedule.end(entry, State.ELSEWHERE, now)
            else:
                processes.start(entry.job, log)
                schedule.start(entry, now)
    except OSError as error:
        schedule.end(entry, State.FAILED, now, reason=f"could not be started: {error}")


def _note_end(schedule: Schedule, entry: Entry, code: int) -> None:
    now = time.monotonic()
    schedule.see(entry, entry.job.progress(), now)
    if code == 0:
        try:
            schedule.end(entry, State.FINISHED if entry.job.end() else State.OPEN, now)
        except OSError as error:
            schedule.end(entry, State.FAILED, now, reason=f"its end could not be noted: {error}")
        return
    how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
    schedule.end(entry, State.FAILED, now, reason=f"{how}: {_last_line(entry.job.log)}")


def _locked(path: Path) -> IO[bytes] | None:
    """Open a log to append to, locked for as long as it is open anywhere; None: another process has it.

    The lock is that of the open file, which the job inherits: it holds until the job and all of its processes have
    ended, even if this process is killed before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("ab")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    except OSError:  # a file system without locks
        pass
    return log


def _last_line(path: Path) -> str:
    """Return the last line of a log, which in Python is the error."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        lines = file.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said and not said[-1].startswith("$ "):  # what was begun
            return cut(said[-1], 200)
    return "it said nothing"


class _Processes:
    """The processes of jobs, by the names of the jobs."""

    def __init__(self, slots: Sequence[Mapping[str, str]], start: Start) -> None:
        self.start_command = start
        self.free = list(slots)
        self.running: dict[str, tuple[Process, Mapping[str, str]]] = {}
        # Names of jobs that have ended, and numbers of signals that came.
        self.news: queue.SimpleQueue[str | int] = queue.SimpleQueue()

    def start(self, job: Job, log: IO[bytes]) -> None:
        """Start a job in a process group of its own, so that Ctrl-C reaches this process alone."""
        slot = self.free[0]
        log.write(f"$ {shlex.join(job.words)}\n".encode())
        log.flush()
        process = self.start_command(job.words, log, slot)
        self.free.pop(0)
        self.running[job.name] = process, slot
        threading.Thread(target=self._wait_for, args=(job.name, process), daemon=True).start()

    def _wait_for(self, name: str, process: Process) -> None:
        process.wait()
        self.news.put(name)

    def wait(self, seconds: float) -> str | None:
        """Return the name of a job that has ended, or None after some seconds.

        Raises:
            Interrupted: If a signal came.
        """
        try:
            news = self.news.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            return None
        if isinstance(news, int):
            raise Interrupted(news)
        return news

    def take(self, name: str) -> int:
        """Give the slot of a job that has ended back, and return its exit code."""
        process, slot = self.running.pop(name)
        self.free.append(slot)
        end_group(process, signal.SIGKILL)  # to what it left behind, which may hold a GPU's memory
        return process.wait()

    def end_all(self) -> None:
        """End all jobs: ask them to, and kill what has not ended after some seconds, or at another signal."""
        for process, _ in self.running.values():
            end_group(process, signal.SIGTERM)
        left, until = set(self.running), time.monotonic() + _GRACE
        with contextlib.suppress(Interrupted):
            while left and (now := time.monotonic()) < until:
                left.discard(self.wait(until - now) or "")
        for name in list(self.running):
            self.take(name)


@contextlib.contextmanager
def _signals_given_to(processes: _Processes) -> Iterator[None]:
    """Have signals that would end this process, but not its jobs, noticed where jobs are waited for."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    is_main = threading.current_thread() is threading.main_thread()
    # One that is ignored stays so: `nohup` wants that of SIGHUP.
    caught = [n for n in numbers if is_main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {n: signal.signal(n, lambda number, frame: processes.news.put(int(number))) for n in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
