"""Kill small campaigns all over the place, resume them, and compare with those that nobody killed.

    python -m tests.reliability.kills 100

Each campaign runs in a process forked from this one, which has imported everything and run nothing. It is killed by
SIGKILL at the n-th time that it comes to a stage (which ones there are, and how often they are reached, the campaigns
that nobody kills tell), or from outside at a random instant; then it is resumed in another process. Afterwards these
must be the same, bit for bit: history, ledger, weights, optimizer state and counters, and which files there are. The
oracle must never have been asked for what the ledger had an answer to.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.reliability import campaigns
from tests.reliability.faults import STAGES, Faults, Point

OUTSIDE = "any instant, from outside"
PATIENCE = 600.0
"""Seconds after which a process that should have ended is given up."""


class Reference(NamedTuple):
    """A campaign that nobody killed: how it ended, how often it came to each stage, its seconds."""

    outcome: dict[str, Any]
    hits: Counter[str]
    seconds: float


class Ended(NamedTuple):
    """How a process ended: the signal that killed it or 0, its exit code, whether others of its group lived on."""

    signal: int
    code: int
    left_others: bool


class Trial(NamedTuple):
    """One campaign that was struck, and at which stage."""

    stage: str
    campaign: str
    survived: bool


def fork(work: Callable[[], None], log: Path) -> int:
    """Do some work in a forked process, with a process group of its own, and return the number of both."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, patience: float = PATIENCE) -> Ended:
    """Wait for a process and its group to end, and end by force what does not."""
    deadline = time.monotonic() + patience
    status = None
    while status is None and time.monotonic() < deadline:
        done, found = os.waitpid(pid, os.WNOHANG)
        status = found if done else time.sleep(0.005)
    while others := _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        status = os.waitpid(pid, 0)[1]
        others = True
    return Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, os.waitstatus_to_exitcode(status), bool(others))


def _lives(group: int) -> bool:
    """Whether a process of the group runs; one that has ended and whose parent has not asked does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = stat.read_text().rpartition(") ")[2].split()[:3]
            if int(found) == group and state not in "ZX":
                return True
    return False


class Trials:
    """Runs campaigns in a folder, kills them, and keeps count.

    Args:
        folder: For all of them; campaigns that were survived are removed from it.
        seed: Of the points.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.references: dict[str, Reference] = {}
        self.trials: list[Trial] = []
        self.failures: list[str] = []

    # -- one campaign ----------------------------------------------------------------------------------------------

    def refer(self, kind: str) -> Reference:
        """Run a campaign that nobody kills, once."""
        if kind not in self.references:
            folder = self._folder(f"{kind} whole")
            start = time.monotonic()
            ended = wait(self._start(kind, folder, Faults(trace=folder / "trace")))
            seconds = time.monotonic() - start
            if ended != (0, 0, False):
                raise RuntimeError(f"{kind}: {ended}\n{(folder / 'log').read_text()[-3000:]}")
            hits = Counter((folder / "trace").read_text().splitlines())
            self.references[kind] = Reference(campaigns.outcome(folder), hits, seconds)
            shutil.rmtree(folder)
        return self.references[kind]

    def strike(self, kind: str, at: Point | None) -> None:
        """Kill a campaign at a point, or a few times at any instant, resume it and compare."""
        folder = self._folder(f"{kind} {len(self.trials)}")
        survived = True
        try:
            self._strike(kind, at, folder)
        except AssertionError as error:
            survived = False
            log = (folder / "log").read_text()[-2000:]
            self.failures.append(f"{kind}, {at or OUTSIDE}: {error} ({folder})\n{log}")
        else:
            shutil.rmtree(folder)
        self.trials.append(Trial(OUTSIDE if at is None else at.stage, kind, survived))

    def _strike(self, kind: str, at: Point | None, folder: Path) -> None:
        reference = self.refer(kind)
        for ended in [self._kill_at(kind, at, folder)] if at is not None else self._kill_any_time(kind, folder):
            # One rank of two takes the process that launched both with it, by an error.
            killed = ended.signal == signal.SIGKILL or (ended.code > 0 and "processes" in kind)
            assert killed, f"was not killed: {ended}"
            assert not ended.left_others, "other processes of the campaign lived on"
        on_disk = campaigns.answered(folder)
        asked_before = len(campaigns.requests(folder))
        ended = wait(self._start(kind, folder, Faults()))
        assert ended == (0, 0, False), f"the resumed campaign failed: {ended}"
        again = on_disk & {i for indices in campaigns.requests(folder)[asked_before:] for i in indices}
        assert not again, f"labels were asked for that were in the ledger: {sorted(again)}"
        outcome = campaigns.outcome(folder)
        for name, expected in reference.outcome.items():
            assert outcome[name] == expected, f"{name} differ: {outcome[name]!r:.1500}\n  expected {expected!r:.1500}"

    def _kill_at(self, kind: str, at: Point, folder: Path) -> Ended:
        return wait(self._start(kind, folder, Faults(at)))

    def _kill_any_time(self, kind: str, folder: Path) -> Iterator[Ended]:
        """Up to three times, each at some instant of what a whole campaign takes, until one ends before its kill."""
        longest = self.refer(kind).seconds
        kills = 0
        while kills < 3:
            pid = self._start(kind, folder, Faults())
            time.sleep(self.random.uniform(0, longest))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            ended = wait(pid)
            if ended == (0, 0, False) and kills:
                return
            if ended == (0, 0, False):  # no trial: begin again, and be quicker
                shutil.rmtree(folder)
                folder.mkdir()
                longest /= 2
                continue
            kills += 1
            yield ended

    def _start(self, kind: str, folder: Path, faults: Faults) -> int:
        def work() -> None:
            faults.install()
            campaigns.run(kind, folder)

        return fork(work, folder / "log")

    def _folder(self, name: str) -> Path:
        folder = self.folder / name.replace(" ", "_").replace(",", "")
        folder.mkdir()
        return folder

    # -- many ------------------------------------------------------------------------------------------------------

    def points(self, kinds: list[str]) -> Iterator[tuple[str, Point | None]]:
        """Without end: a point of every stage in turn, of a kind that has it and was struck least."""
        hits = {kind: self.refer(kind).hits for kind in kinds}
        stages = sorted({OUTSIDE, *(stage for found in hits.values() for stage in found)})
        used = Counter[Any]()
        while True:
            for stage in self.random.sample(stages, len(stages)):
                able = [k for k in kinds if stage == OUTSIDE or stage in hits[k]]
                kind = min(able, key=lambda k: (used[stage, k], used[k], self.random.random()))
                used.update([(stage, kind), kind])
                hit = self.random.randint(1, max(hits[kind][stage], 1))
                yield kind, None if stage == OUTSIDE else Point(stage, hit)

    def table(self) -> str:
        """How many were survived of those tried, by stage and by campaign."""
        wide = max(len(name) for trial in self.trials for name in trial[:2])
        lines = []
        for column, title in enumerate(("stage", "campaign")):
            lines.append(f"{title:<{wide}}  survived / tried")
            for name in sorted({trial[column] for trial in self.trials}):
                of_name = [trial.survived for trial in self.trials if trial[column] == name]
                lines.append(f"{name:<{wide}}  {sum(of_name):>8} / {len(of_name)}")
            lines.append("")
        survived = sum(trial.survived for trial in self.trials)
        return "\n".join([*lines, f"{'all':<{wide}}  {survived:>8} / {len(self.trials)}"])


def main(arguments: list[str]) -> int:
    """Return 0 if all were survived, and every stage is one that some campaign comes to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(campaigns.KINDS), choices=campaigns.KINDS)
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # before anything computes: threads do not live through a fork
    trials = Trials(Path(tempfile.mkdtemp(prefix="lightning_al_kills_")), options.seed)
    for (kind, at), _ in zip(trials.points(options.kinds), range(options.kills), strict=False):
        trials.strike(kind, at)
        if options.verbose:
            print(f"{kind}: {at or OUTSIDE}", flush=True)
    print(trials.table())
    never = STAGES - {stage for reference in trials.references.values() for stage in reference.hits}
    if never:
        print("never reached:", *sorted(never), sep="\n  ")
    for failure in trials.failures:
        print(failure)
    if not trials.failures:
        shutil.rmtree(trials.folder)
    return 1 if trials.failures or never else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
