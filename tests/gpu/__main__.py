"""All that a GPU should be asked, in under eight minutes: results into one JSON and one table.

    make gpu                                        # or: python -m tests.gpu
    python -m tests.gpu --parts picks speed         # some of it
    python -m tests.gpu --tiny --device cpu         # a rehearsal, a minute or two

Nothing is needed but the package. Every part runs in a process of its own, with a share of the time: one that fails, or
takes too long, leaves the others alone. Begun again in the same folder, a run does what is missing.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

SHARES = {"picks": 0.22, "functional": 0.1, "speed": 0.38, "training": 0.18, "pool": 0.12}
"""Of the time that there is."""

FORWARDS, TIMES = 6.0, 20.0
"""The goals: forward passes that exact scores cost at most, and how often the published loop takes as long at least."""


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, and return 0 if all that was judged is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models and data of a few numbers: a rehearsal")
    parser.add_argument("--seconds", type=float, default=450, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="a folder")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # the process of one part
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only:
        _run_part(options)
        return 0
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU that torch can see. A rehearsal on the CPU: `--tiny --device cpu`.", file=sys.stderr)
        return 2
    options.deadline = time.monotonic() + 1.05 * options.seconds
    for part in options.parts:
        _in_process(part, options)
    return _report(options)


def _in_process(part: str, options: argparse.Namespace) -> None:
    """Run a part in a process of its own, or several, and end what takes far longer than it has."""
    from tests.gpu.record import STUCK, forget_errors

    seconds = options.seconds * SHARES[part] / sum(SHARES[name] for name in options.parts)
    forget_errors(options.out / f"{part}.jsonl")
    start = time.monotonic()
    code: int | None = STUCK
    print(f"== {part}, {seconds:.0f} s", flush=True)
    while code == STUCK and time.monotonic() - start < seconds:
        code = _one_process(part, options, seconds - (time.monotonic() - start))
    ended = {"seconds": round(time.monotonic() - start, 1), "ended": "killed: out of time" if code is None else code}
    (options.out / f"{part}.ended.json").write_text(json.dumps(ended))


def _one_process(part: str, options: argparse.Namespace, seconds: float) -> int | None:
    """Return how a process ended; None: it had to be."""
    command = [sys.executable, "-m", "tests.gpu", "--only", part, "--device", options.device]
    command += ["--seconds", str(seconds), "--out", str(options.out), *(["--tiny"] if options.tiny else [])]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True) as process:
        try:
            return process.wait(min(seconds * 1.25 + 30, max(options.deadline - time.monotonic(), 1)))
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _run_part(options: argparse.Namespace) -> None:
    import importlib
    import logging

    import torch

    from tests.gpu.record import Where, run_checks

    warnings.filterwarnings("ignore")
    module = importlib.import_module(f"tests.gpu.{options.only}")
    for name in ("lightning.pytorch", "lightning.fabric"):  # whose import sets their levels
        logging.getLogger(name).setLevel(logging.ERROR)
    where = Where(torch.device(options.device), options.tiny)
    run_checks(options.only, module.checks(where), options.out / f"{options.only}.jsonl", seconds=options.seconds)


# -- the report --------------------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace) -> int:
    """Put all rows that there are in one JSON and one table, with the goals, and return 0 if nothing is wrong."""
    from tests.gpu.record import rows_in, table_of

    parts = {part: rows_in(options.out / f"{part}.jsonl") for part in SHARES}
    ended = {p: json.loads(f.read_text()) for p in SHARES if (f := options.out / f"{p}.ended.json").is_file()}
    machine = _machine(options)
    lines = [f"# {machine['card']}, torch {machine['torch']}, lightning {machine['lightning']}", ""]
    lines += [f"`{machine['command']}`, {machine['when']}", ""]
    goals = _goals(parts["speed"])
    lines += [f"- {goal}" for goal in goals]
    bad = [(p, row) for p, rows in parts.items() for row in rows if row.get("right") is False or "error" in row]
    bad += [(p, {"name": "(the process)", "error": str(e["ended"])}) for p, e in ended.items() if e["ended"] != 0]
    lines += [f"- {sum(map(len, parts.values()))} checks, {len(bad)} of them wrong or not done"]
    lines += [f"- {p}: {row['name']}: {row.get('error', 'wrong')}" for p, row in bad]
    lines += [f"\n## {part}\n\n{table_of(rows)}" for part, rows in parts.items() if rows]
    whole = {"machine": machine, "goals": goals, "ended": ended, "parts": parts}
    (options.out / "gpu.json").write_text(json.dumps(whole, indent=1))
    (options.out / "gpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"\n{options.out / 'gpu.json'}, {options.out / 'gpu.md'}")
    return 1 if bad else 0


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    import lightning
    import torch

    has_cuda = options.device.startswith("cuda")
    return {
        "card": torch.cuda.get_device_name(options.device) if has_cuda else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if has_cuda else None,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": "python -m tests.gpu" + (" --tiny" if options.tiny else "") + f" --device {options.device}",
    }


def _goals(rows: list[dict[str, Any]]) -> list[str]:
    judged = [row for row in rows if row.get("goal")]
    if not judged:
        return ["the goals: nothing was measured"]
    said = []
    for name, limit, better in (("forwards", FORWARDS, min), ("times the loop", TIMES, max)):
        values = [row[name] for row in judged]
        reached = [value for value in values if better(value, limit) == value]
        worst, best = (max(values), min(values)) if better is min else (min(values), max(values))
        words = "at most" if better is min else "at least"
        said.append(
            f"goal: {name} {words} {limit:g}: reached in {len(reached)} of {len(values)} "
            f"(worst {worst:.1f}, best {best:.1f})"
        )
    return said


if __name__ == "__main__":
    sys.exit(main())
