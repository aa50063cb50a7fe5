"""The folder of a result: pictures, and a page that leads through all that is in it."""

import csv
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from lightning_al.report.alignment import FULL_DATA, Aligned, align
from lightning_al.report.comparison import pairwise_of
from lightning_al.report.curves import Curve, Curves, round_by_round
from lightning_al.report.plots import plot, plot_pairwise
from lightning_al.report.tables import markdown, pairwise_tables, too_few_cases
from lightning_al.reproduction.measured import Measured
from lightning_al.reproduction.runs import Choice, Run
from lightning_al.storage.files import atomic_write

PAGE = "index.md"
_MOST_LINES = 40  # of a diagnosis's table that is shown: a longer one is no table to read


def curves_of(found: Sequence[Measured]) -> dict[str, Curves]:
    """Return the learning curves by case and method; a method's unfinished runs have a name of their own."""
    cases: dict[str, dict[str, list[Curve]]] = {}
    for each in found:
        name = each.run.method + ("" if each.run.is_finished else " (unfinished)")
        cases.setdefault(each.run.case, {}).setdefault(name, []).append(each.curve)
    return {case: round_by_round(curves) for case, curves in cases.items()}


def draw_curves(found: Sequence[Measured], folder: Path) -> list[Path]:
    """Draw the learning curves of each case, and return the pictures."""
    drawn = []
    for case, curves in curves_of(found).items():
        methods = {name: repeats for name, repeats in curves.items() if name != FULL_DATA}
        if methods:
            drawn.append(folder / f"{case}_curves.png")
            plot(methods, drawn[-1], {FULL_DATA: curves[FULL_DATA]} if FULL_DATA in curves else None)
    return drawn


def pairs_of(found: Sequence[Measured]) -> list[Aligned]:
    """Return what methods beside each other are computed from: the finished curves of each case."""
    finished = [each for each in found if each.run.is_finished]
    aligned = [align({n: r for n, r in curves.items() if n != FULL_DATA}) for curves in curves_of(finished).values()]
    return [each for each in aligned if each.labels and len(each.values) > 1]


def pairs_table(several: Sequence[Aligned]) -> str:
    """Return how often, and by how much, each method is ahead of each other one, by the maximum over rounds."""
    few = too_few_cases(several, "best")
    return pairwise_tables(several, "best") + ("" if few is None else f"\n\n{few}")


def draw_pairs(several: Sequence[Aligned], folder: Path) -> list[Path]:
    """Draw the same, and return the picture."""
    methods, matrices = pairwise_of(several, "best")
    path = folder / "pairwise.png"
    plot_pairwise(methods, matrices, f"{several[0].label_of('best')} ({several[0].metric})", path)
    return [path]


def diagnosed_tables(outputs: Sequence[Path]) -> str:
    """Return the tables in the folders of diagnoses, each below what it is of."""
    texts = []
    for path in _files_in(outputs, "*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        methods, seed = path.parts[-3:-1]
        name, count = f"{path.stem} of {methods}, {seed.replace('_', ' ')}", len(lines) - 1
        if count > _MOST_LINES:
            texts.append(f"{name}: {count} rows, in {path}.")
        else:
            texts.append(f"{name}:\n\n{markdown([[_short(cell) for cell in line] for line in lines])}")
    return "\n\n".join(texts)


def diagnosed_pictures(outputs: Sequence[Path]) -> list[Path]:
    """Return the pictures in the folders of diagnoses."""
    return _files_in(outputs, "*.png")


def _files_in(folders: Sequence[Path], pattern: str) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob(pattern))]


def _short(cell: str) -> str:
    try:
        return f"{float(cell):.4g}" if "." in cell or "e" in cell else cell
    except ValueError:
        return cell


def write_page(
    choice: Choice,
    runs: Sequence[Run],
    words: Sequence[str],
    *,
    text: str,
    pictures: Sequence[Path],
    outputs: Sequence[Path] = (),
) -> Path:
    """Write the page of a result, and the one above that names all results of the folder.

    Args:
        choice: What was chosen.
        runs: Of it.
        words: Of the command.
        text: Tables and notes.
        pictures: Of it.
        outputs: Folders of its diagnoses.

    Returns:
        The page.
    """
    result, folder = choice.result, choice.folder
    files = [*sorted(folder.rglob("*.csv")), *_files_in(outputs, "*.csv")]
    lines = [
        f"# {result.id}: {result.title}",
        f"{result.where} of {result.paper}",
        f"```\n{shlex.join(['lightning-al', 'reproduce', *words])}\n```",
        text,
        *(f"![{path.stem}]({_of(path, folder)})" for path in pictures),
        "## Numbers",
        "\n".join(f"* [{_of(path, folder)}]({_of(path, folder)})" for path in files) or "None.",
    ]
    if runs:
        of_methods = {run.folder.parent: f"{run.case}: {run.method}" for run in runs}
        below = "\n".join(f"* {name}: [{path}]({_of(path, folder)})" for path, name in of_methods.items())
        lines += ["## Runs", "One folder a seed, its log beside; `lightning-al compare` reads them too.", below]
    page = folder / PAGE
    _write(page, "\n\n".join(lines))
    _write_contents(choice.root)
    return page


def _write_contents(root: Path) -> None:
    """Write the page that names the results in a folder."""
    pages = sorted(path for path in root.glob(f"*/*/{PAGE}"))
    titles = [(path, path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")) for path in pages]
    small = "_small"
    lines = [
        f"* [{title}]({_of(path, root)})" + (", small form" if path.parent.name.endswith(small) else "")
        for path, title in titles
    ]
    _write(root / PAGE, "# Published results, here\n\n" + "\n".join(lines))


def _of(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())
