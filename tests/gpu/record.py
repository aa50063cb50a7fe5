"""Checks run one by one, each result on disk at once, so that a run that was cut off goes on where it was."""

import json
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Where(NamedTuple):
    """On what the checks run: a device, and whether models and data are tiny."""

    device: torch.device
    tiny: bool

    @property
    def accelerator(self) -> str:
        return "gpu" if self.device.type == "cuda" else self.device.type


class Check(NamedTuple):
    """One row of a part's table.

    Attributes:
        name: Of the row; no other of the part has it.
        run: Gives the row's figures by name; ``"right"`` among them says whether it is as it should be.
    """

    name: str
    run: Callable[[], dict[str, Any]]


STUCK = 3
"""How a process ends whose device refuses all that follows: the rest is for another process."""


def rows_in(file: Path) -> list[dict[str, Any]]:
    """Return the rows that were written; the last may have been cut off."""
    rows = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def forget_errors(file: Path) -> None:
    """Leave only the rows of checks that were done, so that the others are tried again."""
    rows = [row for row in rows_in(file) if "error" not in row]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_checks(part: str, checks: Iterator[Check], file: Path, *, seconds: float) -> None:
    """Run a part's checks that are not in the file yet, for as long as it has, whatever becomes of each.

    Args:
        part: Its name, for what is printed.
        checks: The checks.
        file: A line of JSON for each.
        seconds: After which no other one begins.

    Raises:
        SystemExit: With :data:`STUCK` after an error of the device's, which this process cannot use any more.
    """
    begin = time.monotonic()
    done = {row["name"] for row in rows_in(file)}
    for check in checks:
        if check.name in done:
            continue
        if time.monotonic() - begin > seconds:
            print(f"{part}: out of time, {check.name} and all after it are left", flush=True)
            _write(file, {"name": "(left for want of time)", "error": f"{check.name} and what comes after it"})
            return
        start = time.monotonic()
        try:
            row = {"name": check.name, **check.run()}
        except Exception as error:  # whatever it is, the others have their turn
            traceback.print_exc()
            row = {"name": check.name, "error": f"{type(error).__name__}: {str(error)[:300]}"}
        row["seconds"] = round(time.monotonic() - start, 2)
        _write(file, row)
        print(f"{part}: {described(row)}", flush=True)
        if "CUDA error" in row.get("error", ""):
            raise SystemExit(STUCK)


def _write(file: Path, row: dict[str, Any]) -> None:
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")


def described(row: dict[str, Any]) -> str:
    """Return a row in a line."""
    mark = {True: "right", False: "WRONG", None: ""}[row.get("right")] if "error" not in row else "ERROR"
    figures = ", ".join(f"{name} {shown(value)}" for name, value in row.items() if name not in ("name", "right"))
    return f"{row['name']}: {mark} {figures}"


def shown(value: Any) -> str:
    """Return a figure as a table has it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return rows as a table of markdown."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in columns) + " |" for row in rows]
    return "\n".join(lines).replace("\\", "")


# -- time and memory ---------------------------------------------------------------------------------------------------


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return what a run takes, between two events of the device's, or on a CPU by the clock."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    first.record()
    run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000


def peak_of(run: Callable[[], object], device: torch.device) -> float | None:
    """Return by how many MiB the allocator's peak grows in a run; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20
