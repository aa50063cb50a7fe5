"""``lightning-al sweep``: methods by seeds, side by side, resumable; then what ``lightning-al compare`` says."""

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_al.cli.ending import refuse
from lightning_al.cli.options import CommandParser, read_beside_recipe
from lightning_al.sweep import Interrupted, Schedule, State, run_jobs
from lightning_al.sweep.campaigns import CampaignJob
from lightning_al.sweep.plan import Plan, PlanError, plan_of
from lightning_al.sweep.processes import Forks, Start, end_group
from lightning_al.sweep.screen import Screen, failures
from lightning_al.sweep.shell import shell_line, slurm_array
from lightning_al.words import counted


def sweep_parser() -> argparse.ArgumentParser:
    """Return what reads the command line of ``sweep``."""
    parser = CommandParser(
        prog="lightning-al sweep",
        description="Run campaigns of every method with every seed, and compare them. Run it again after a kill or a "
        "failure: what is finished is not run again, the rest goes on where it was.",
        usage="lightning-al sweep -c PROTOCOL --methods saal,random,... [--seeds 0..4] [--jobs 2] [--dirpath FOLDER] "
        "[--model..., --data.root=..., as for run]",
        epilog="All options of `model`, `data`, `trainer` and `loop` may be given too, as to `lightning-al run`; every "
        "run has them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c", dest="protocol", action="append", metavar="PROTOCOL", required=True, help="The recipe that all runs have."
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        required=True,
        metavar="METHOD",
        help="Names of recipes/acquisitions, or files, with commas between. `saal+sam` is saal with recipes/training/"
        "sam.yaml after it.",
    )
    parser.add_argument("--seeds", nargs="+", default=["0..4"], help="As 0..4 or 0,3,5. Default: 0..4.")
    parser.add_argument(
        "--dirpath",
        metavar="FOLDER",
        help="Runs are in FOLDER/{method}/seed_{seed}, their logs beside. Default: the protocol's `loop.dirpath`.",
    )
    add_ways_to_run(parser)
    parser.add_argument(
        "--slurm", metavar="FILE", help="Run nothing: write a job array of Slurm with a task for each run that is left."
    )
    parser.add_argument("--metric", help="Which metric is compared, as of `lightning-al compare`.")
    parser.add_argument("--baseline", help="Method that others are compared with. Default: random.")
    return parser


def add_ways_to_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of how jobs are run, which :func:`slots_for` reads, and that of printing them."""
    parser.add_argument("--jobs", help="How many run at a time. Default: 1.")
    parser.add_argument(
        "--threads", help="OMP_NUM_THREADS of each run. Default: that of the environment, else the cores over the jobs."
    )
    parser.add_argument("--gpus", metavar="0,1", help="CUDA_VISIBLE_DEVICES of the jobs, dealt out in turn.")
    parser.add_argument(
        "--print-commands",
        action="store_true",
        help="Run nothing: print a line of the shell for each run that is left.",
    )


def sweep(args: Sequence[str]) -> None:
    """Run ``lightning-al sweep``.

    Args:
        args: The command line after ``sweep``.

    Raises:
        SystemExit: With what is wrong; or if runs failed, or were ended by a signal.
    """
    parser = sweep_parser()
    options, overrides = read_beside_recipe(parser, args)
    findings: list[str] = []
    slots = slots_for(options, findings)
    given = [f"`--{name}`" for name in ("threads", "gpus") if getattr(options, name) is not None]
    if options.slurm and given:
        findings.append(
            f"{' and '.join(given)}: of runs that are started here; what a task of Slurm gets is said in the file that "
            "`--slurm` writes, `#SBATCH --cpus-per-task` and `--gres`."
        )
    plan = _plan(options, overrides, findings)
    with forks_of(slots) as forks:
        try:
            _check_recipes(plan, forks.start)
            if options.print_commands or options.slurm:
                _hand_out(plan, slots, options)
                return
            plan.root.mkdir(parents=True, exist_ok=True)
        except (ValueError, OSError) as error:
            refuse(error)
        except KeyboardInterrupt:
            sys.exit(130)
        jobs = plan.jobs((sys.executable, "-m", "lightning_al"))
        schedule = _run(plan, jobs, slots, forks.start, args)
    _conclude(plan, jobs, schedule, options)


def _run(
    plan: Plan, jobs: Sequence[CampaignJob], slots: Sequence[Mapping[str, str]], start: Start, args: Sequence[str]
) -> Schedule:
    """Run the jobs of a plan.

    Raises:
        SystemExit: If a signal ended them.
    """
    screen = Screen()
    count = f"{counted(len(jobs), 'run')}, {counted(len(plan.methods), 'method')} by {counted(len(plan.seeds), 'seed')}"
    screen.say(f"{count}; {len(slots)} at a time, OMP_NUM_THREADS={slots[0]['OMP_NUM_THREADS']}; in {plan.root}")
    try:
        schedule = run_jobs(jobs, screen, slots, start)
    except Interrupted as interrupted:
        screen.close()
        print(
            f"\nStopped: {interrupted}. The runs that were under way have ended too, and are on disk as far as they "
            f"got. To go on: {shlex.join(['lightning-al', 'sweep', *args])}"
        )
        sys.exit(128 + interrupted.number)
    screen.close()
    return schedule


def _plan(options: argparse.Namespace, overrides: Sequence[str], findings: list[str]) -> Plan:
    """Return what is to be run, as far as it can be told without torch, whose import takes seconds.

    Args:
        options: Of the command line.
        overrides: What is for each run.
        findings: What is wrong already.

    Raises:
        SystemExit: With all that is wrong.
    """
    plan = plan_of(
        options.protocol,
        ",".join(options.methods),
        ",".join(options.seeds),
        dirpath=options.dirpath,
        overrides=overrides,
        findings=findings,
    )
    if findings:
        refuse(PlanError(findings))
    return plan


def _check_recipes(plan: Plan, start: Start) -> None:
    """Refuse runs whose recipes and options do not go together, or whose campaigns began with others.

    Args:
        plan: What is to be run.
        start: Starts the process that reads the recipes.

    Raises:
        PlanError: With all that is wrong.
    """
    left = [job for job in plan.jobs(()) if not job.is_done()]
    folders = {method.name: [str(job.folder) for job in left if job.kind == method.name] for method in plan.methods}
    runs = [(each.name, plan.words(each), folders[each.name]) for each in plan.methods if folders[each.name]]
    findings = findings_of_recipes(runs, start)
    if findings:
        raise PlanError(findings)


def slots_for(options: argparse.Namespace, findings: list[str]) -> list[dict[str, str]]:
    """Return the variables of each slot that the options ask for; what is wrong goes into ``findings``."""
    jobs = _count("--jobs", options.jobs, findings) or 1
    threads = _count("--threads", options.threads, findings)
    gpus = [] if options.gpus is None else [gpu.strip() for gpu in options.gpus.split(",")]
    if not all(gpus):
        findings.append(f"`--gpus` are their numbers with commas between, got {options.gpus!r}.")
    return slots_of(jobs, threads, gpus)


def _count(option: str, text: str | None, findings: list[str]) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10_000):
        findings.append(f"`{option}` must be a number of at least 1, got {text!r}.")
        return None
    return int(text)


def slots_of(jobs: int, threads: int | None = None, gpus: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the variables of jobs that run side by side: their share of the cores, and of the GPUs that are named.

    Args:
        jobs: How many there are.
        threads: Of each; None: as the environment says, or else the cores over the jobs.
        gpus: Dealt out in turn.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS") or str(max(cores // jobs, 1))
    slots = [{"OMP_NUM_THREADS": share if threads is None else str(threads)} for _ in range(jobs)]
    for number, slot in enumerate(slots):
        if gpus:
            slot["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return slots


def forks_of(slots: Sequence[Mapping[str, str]]) -> Forks:
    """Return what starts commands of ``lightning-al`` without an import of all that they need by each."""
    return Forks(["lightning_al.cli.run", "lightning_al.cli.recipes_checked"], slots[0])


def findings_of_recipes(runs: Sequence[tuple[str, Sequence[str], Sequence[str]]], start: Start) -> list[str]:
    """Return what is wrong with runs, each a name, its words after ``lightning-al run``, and folders of campaigns.

    Another process reads the recipes, with the classes that they name: this one stays small, and off the GPUs.

    Args:
        runs: What to look at.
        start: Starts that process.
    """
    if not runs:
        return []
    print(f"Reading the recipes of {counted(len(runs), 'method')} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        asked, answer, said = (Path(folder, name) for name in ("runs.json", "findings.json", "said"))
        asked.write_text(json.dumps(runs))
        words = (sys.executable, "-m", "lightning_al.cli.recipes_checked", str(asked), str(answer))
        with said.open("wb") as log:
            process = start(words, log, {})
        try:
            code = process.wait()
        finally:  # an interrupt is not for it alone
            end_group(process, signal.SIGKILL)
        try:
            return list(json.loads(answer.read_text()))
        except (OSError, ValueError):
            lines = said.read_text(errors="replace").strip().splitlines()
    return [f"The recipes could not be read (exit code {code}): {lines[-1] if lines else 'nothing said'}"]


def _hand_out(plan: Plan, slots: Sequence[Mapping[str, str]], options: argparse.Namespace) -> None:
    """Print or write the commands of the runs that are left, in place of running them."""
    jobs: list[CampaignJob] = plan.jobs(program())
    left = [job for job in jobs if not job.is_done()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are finished and left out.", file=sys.stderr)
    if options.print_commands:
        for number, job in enumerate(left):
            print(shell_line(job, slots[number % len(slots)], cwd=Path.cwd()))
    if options.slurm and left:
        at_once = len(slots) if options.jobs else None
        script = slurm_array(left, name=Path(plan.protocol[0]).stem, at_once=at_once, cwd=Path.cwd())
        Path(options.slurm).write_text(script)
        print(
            f"{options.slurm}: {len(left)} tasks. Submit it with `sbatch {shlex.quote(options.slurm)}`, and then "
            f"compare: `lightning-al compare {shlex.quote(str(plan.root))}`.",
            file=sys.stderr,
        )


def program() -> tuple[str, ...]:
    """Return how this package is started from any shell."""
    found, here = shutil.which("lightning-al"), Path(sys.executable).with_name("lightning-al")
    if found is not None and Path(found) == here:
        return ("lightning-al",)
    return (str(here),) if here.is_file() else (sys.executable, "-m", "lightning_al")


def _conclude(plan: Plan, jobs: Sequence[CampaignJob], schedule: Schedule, options: argparse.Namespace) -> None:
    """Compare what there is; then name what failed."""
    from lightning_al.report.compare import compare

    print()
    if schedule.of(State.FINISHED):
        try:
            compare(str(plan.root), options.metric, baseline=options.baseline)
        except (ValueError, OSError, ImportError) as error:
            print(f"No comparison: {error}")
    for job, entry in zip(jobs, schedule.entries, strict=True):
        if entry.state is State.OPEN:
            print(f"{job.name} waits for labels: `lightning-al tell {job.folder} LABELS`, then sweep again.")
    failed = schedule.of(State.FAILED)
    if failed:
        print(f"\n{failures(schedule)}\n")
        sys.exit(f"{len(failed)} of {len(schedule.entries)} runs failed. Sweep again to try them once more.")
