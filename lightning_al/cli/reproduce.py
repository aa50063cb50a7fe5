"""``lightning-al reproduce``: the published results, which of them can be had here, and their figures beside ours."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_al.cli.ending import refuse
from lightning_al.cli.options import CommandParser, read_beside_recipe
from lightning_al.cli.sweep import add_ways_to_run, findings_of_recipes, forks_of, program, slots_for
from lightning_al.reproduction.choosing import choice_of, result_of
from lightning_al.reproduction.listing import listing
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Result, read_results, recipes_folder
from lightning_al.reproduction.runs import Choice, Run, runs_of
from lightning_al.reproduction.shown import SHOWN
from lightning_al.sweep import Interrupted, Job, Schedule, State, run_jobs
from lightning_al.sweep.plan import PlanError
from lightning_al.sweep.processes import Start
from lightning_al.sweep.screen import Screen, failures
from lightning_al.sweep.shell import shell_line
from lightning_al.words import counted


def reproduce_parser() -> argparse.ArgumentParser:
    """Return what reads the command line of ``reproduce``."""
    parser = CommandParser(
        prog="lightning-al reproduce",
        description="Published tables and figures: without a name the list of all, with what each lacks here; with one,"
        " run what makes it, and print what was published beside ours. Run it again after a kill or a failure: what is "
        "finished is not run again.",
        usage="lightning-al reproduce [saal/table-1] [--only CASE] [--methods saal,random] [--seeds 3] [--small] "
        "[--jobs 2] [--dirpath FOLDER] [--data.root=FOLDER] [--trainer..., as for run]",
        epilog="All options of `model`, `data`, `trainer` and `loop` may be given too, as to `lightning-al run`; every "
        "run has them.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("result", nargs="?", help="Its name, as `saal/table-1`; or of a paper, as `saal`, for its part of the list.")
    add("--only", metavar="CASE", help="Of its cases these, or those with such a part: cifar10-adam, or cifar10.")
    add("--methods", help="Of its methods these, with commas between.")
    add("--seeds", help="How many (3: 0, 1 and 2), or which: 0..4, or 0,3,5. Default: as many as the paper's repeats.")
    add("--small", action="store_true", help="A small network and budget, for a CPU: not the paper's.")
    add_ways_to_run(parser)
    add(
        "--dirpath",
        metavar="FOLDER",
        default="runs/reproduce",
        help="For all that is written. Default: runs/reproduce.",
    )
    add("--data.root", dest="data_root", metavar="FOLDER", help="Data are looked for here before the recipes' folders.")
    add("--recipes", metavar="FOLDER", help="Recipes with `published`. Default: ./recipes, else those of the package.")
    add("--no-run", action="store_true", help="Run nothing: the table of what is there.")
    return parser


def reproduce(args: Sequence[str]) -> None:
    """Run ``lightning-al reproduce``.

    Args:
        args: The command line after ``reproduce``.

    Raises:
        SystemExit: With what is wrong; or if runs failed, or were ended by a signal.
    """
    parser = reproduce_parser()
    options, overrides = read_beside_recipe(parser, args, own=("--data.root",))
    try:
        recipes = recipes_folder(options.recipes)
        results = read_results(recipes)
        needs = Needs(recipes, options.data_root)
        of_paper = {name: of for name, of in results.items() if name.partition("/")[0] == options.result}
        if options.result is None or of_paper:
            print(listing(of_paper or results, needs))
            return
        _of_one(options, args, results, needs, overrides)
    except (ValueError, OSError) as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _of_one(
    options: argparse.Namespace,
    args: Sequence[str],
    results: Mapping[str, Result],
    needs: Needs,
    overrides: Sequence[str],
) -> None:
    findings: list[str] = []
    slots = slots_for(options, findings)
    result = result_of(options.result, results, findings)
    if result is None:
        raise PlanError(findings)
    choice, left_out = choice_of(
        result,
        needs,
        only=options.only,
        methods=options.methods,
        seeds=options.seeds,
        small=options.small,
        root=options.dirpath,
        overrides=overrides,
        findings=findings,
    )
    if findings:
        raise PlanError(findings)
    begins = program() if options.print_commands else (sys.executable, "-m", "lightning_al")
    runs = [] if result.shows == "settings" else runs_of(choice, needs, begins)
    with forks_of(slots) as forks:
        _check_recipes(runs, forks.start, is_to_run=not options.no_run)
        if options.print_commands:
            left = [run.job for run in runs if not run.job.is_done()]
            for number, job in enumerate(left):
                print(shell_line(job, slots[number % len(slots)], cwd=Path.cwd()))
            return
        is_to_run = bool(runs) and not options.no_run
        _introduce(choice, left_out, is_to_run=is_to_run)
        schedules = _run(choice, runs, needs, slots, forks.start, args) if is_to_run else []
    _report(choice, runs, needs, args)
    _end(schedules)


def _check_recipes(runs: Sequence[Run], start: Start, *, is_to_run: bool) -> None:
    """Refuse runs whose recipes and options do not go together, of which one a case and method is looked at.

    Raises:
        PlanError: With all that is wrong.
    """
    left = [run for run in runs if is_to_run and not run.job.is_done()]
    words = {run.job.kind: run.words for run in left}
    folders = {kind: [str(run.folder) for run in left if run.job.kind == kind] for kind in words}
    findings = findings_of_recipes([(kind, words[kind], folders[kind]) for kind in words], start)
    if findings:
        raise PlanError(findings)


def _introduce(choice: Choice, left_out: Mapping[str, Sequence[str]], *, is_to_run: bool) -> None:
    """Say what will be run, and what cannot be."""
    from lightning_al.reproduction.tables import NOT_THE_PAPERS

    result = choice.result
    print(f"{result.id}: {result.title}\n{result.where} of {result.paper}")
    if choice.small and is_to_run:
        print(NOT_THE_PAPERS)
    for case, lacks in left_out.items():
        print(f"Left out: {case}, which lacks {', '.join(lacks)}.")
    sys.stdout.flush()


def _run(
    choice: Choice,
    runs: Sequence[Run],
    needs: Needs,
    slots: Sequence[Mapping[str, str]],
    start: Start,
    args: Sequence[str],
) -> list[Schedule]:
    """Run campaigns, and then the diagnoses of those that are finished."""
    from lightning_al.reproduction.diagnosing import jobs_of

    screen = Screen()
    choice.folder.mkdir(parents=True, exist_ok=True)
    seeds = ", ".join(map(str, choice.seeds))
    screen.say(f"{counted(len(runs), 'run')}, seeds {seeds}; {len(slots)} at a time; in {choice.root / 'runs'}")
    schedules = []
    try:
        by_folder: dict[Path, Job] = {run.folder: run.job for run in runs}  # cases may have the same runs
        schedules.append(run_jobs(list(by_folder.values()), screen, slots, start))
        if choice.result.shows in SHOWN:
            diagnoses = jobs_of(choice, runs, needs, (sys.executable, "-m", "lightning_al"))
            screen.say(f"{counted(len(diagnoses), 'job')} of `lightning-al diagnose`; in {choice.folder}")
            schedules.append(run_jobs(diagnoses, screen, slots, start))
    except Interrupted as signal:
        screen.close()
        again = shlex.join(["lightning-al", "reproduce", *args])
        print(f"\nStopped: {signal}. What was under way has ended too. To go on: {again}")
        sys.exit(128 + signal.number)
    screen.close()
    return schedules


def _report(choice: Choice, runs: Sequence[Run], needs: Needs, args: Sequence[str]) -> None:
    """Print tables, and write them with pictures and a page."""
    from lightning_al.reproduction.reporting import report

    print(f"\n{report(choice, runs, needs, args)}")


def _end(schedules: Sequence[Schedule]) -> None:
    """Name what failed."""
    failed = [schedule for schedule in schedules if schedule.of(State.FAILED)]
    for schedule in failed:
        print(f"\n{failures(schedule)}")
    if failed:
        count = sum(len(schedule.of(State.FAILED)) for schedule in failed)
        sys.exit(f"\n{counted(count, 'job')} failed. The same command tries again.")
