"""What a look at campaigns found: a table, and a picture of it."""

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_al.drawing.canvas import new_figure, save_figure
from lightning_al.report.tables import markdown
from lightning_al.storage.files import atomic_write

Cell = str | int | float | None
Draw = Callable[[Any], None]
"""Draws into an empty figure of matplotlib's."""


@dataclass(frozen=True)
class Diagnosis:
    """A table and a picture.

    Args:
        name: Of its files.
        title: Says what it shows.
        header: Of the columns.
        rows: Numbers and words; None where there is nothing.
        draw: Draws the picture.
        note: What must be known to read it.

    Example:
        >>> print(Diagnosis("gap", "Gap", ["round", "gap"], [[0, 0.25], [1, None]], lambda figure: None).table())
        | round | gap    |
        |-------|--------|
        | 0     | 0.2500 |
        | 1     | -      |
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    draw: Draw
    note: str = ""

    def table(self, most: int = 100) -> str:
        """Return the table in Markdown, numbers to four digits, at most so many of its rows; the note below it."""
        rows = self.rows[:most]
        text = markdown([list(self.header), *([_shown(cell) for cell in row] for row in rows)])
        left_out = len(self.rows) - len(rows)
        notes = [self.note] if self.note else []
        notes += [f"{left_out} more rows are in {self.name}.csv."] if left_out else []
        return "\n\n".join([text, *notes])

    def to_csv(self, path: str | Path) -> None:
        """Write the table with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows)
        with atomic_write(Path(path)) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | Path) -> None:
        """Draw the picture into a file, whose ending chooses the format (png, pdf, svg).

        Raises:
            ImportError: If matplotlib is missing.
        """
        figure = new_figure()
        self.draw(figure)
        width = int(13 * figure.get_size_inches()[0])  # letters
        figure.suptitle("\n".join(textwrap.wrap(self.title, width)), fontsize=11)
        save_figure(figure, path, dpi=130)


def count_of(counts: Iterable[int], what: str = "samples") -> str:
    """Return how many samples rounds were looked at with.

    Example:
        >>> count_of([30, 30]), count_of([28, 30]), count_of([1], "test samples")
        ('30 samples', '28 to 30 samples', '1 test samples')
    """
    least, most = min(counts := list(counts)), max(counts)
    return f"{f'{least} to ' * (least != most)}{most} {what}"


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.4f}" if cell == 0 or 0.001 <= abs(cell) < 10_000 else f"{cell:.3g}"
