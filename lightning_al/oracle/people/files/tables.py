"""Tables of labels: CSV, by commas, semicolons or tabs, with a header."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from lightning_al.oracle.people.files.entries import Entry, Reading, word_of
from lightning_al.oracle.people.files.text import read_text
from lightning_al.storage.files import atomic_write
from lightning_al.words import shown

_COLUMNS = {
    "key": ("key", "file", "file_name", "filename", "path", "image"),
    "label": ("label", "labels", "class", "annotation"),
    "annotator": ("annotator",),
}
_DELIMITERS = (",", ";", "\t", "|")


def read_table(path: Path) -> Reading:
    """Read a table; what stands between its columns is what its header has.

    Columns are found by their names, in any order; others are passed over. A missing cell is a blank one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text, or its header has no key or label.
    """
    text = read_text(path)
    first_line, _, rest = text.partition("\n")
    skipped = 0
    delimiters: Sequence[str] = _DELIMITERS
    if first_line.strip().lower().startswith("sep=") and first_line.strip()[4:]:  # Excel's
        text, skipped, delimiters = rest, 1, first_line.rstrip("\r\n")[4:5]
    delimiter, columns = _header(path, text, delimiters)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    entries: list[Entry] = []
    problems: list[str] = []
    width = len(next(reader))
    ends = text.endswith(("\n", "\r"))
    line = reader.line_num + skipped + 1
    try:
        for row in reader:
            where = f"{path}, line {line}"
            is_cut = not ends and reader.line_num >= text.count("\n") + 1
            line = reader.line_num + skipped + 1
            if not any(cell.strip() for cell in row):
                continue
            if is_cut and len(row) < width:
                problems.append(f"{where}: the last line has {len(row)} of {width} columns and no end: is it whole?")
            elif len(row) == 1 < width and (other := _other_delimiter(row[0], delimiter, width)):
                problems.append(
                    f"{where}: columns are divided by {other!r} here, and by {delimiter!r} in the header; got "
                    f"{row[0]!r}."
                )
            elif any(cell.strip() for cell in row[width:]):
                problems.append(f"{where}: {len(row)} columns, the header has {width}. Put quotes around {row!r}.")
            else:
                entries.append(_entry(row, columns, where, cut_column=width - 1 if is_cut else -1))
    except csv.Error as error:
        problems.append(f"{path}, line {line}: {error}; a quotation mark too many, or the file's end is missing.")
    return Reading(entries, problems)


def _header(path: Path, text: str, delimiters: Sequence[str]) -> tuple[str, dict[str, int]]:
    for delimiter in delimiters:
        try:
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        plain = [name.strip().lower() for name in names]
        columns = {}
        for column, called in _COLUMNS.items():
            name = next((name for name in called if name in plain), None)
            if name is not None:
                columns[column] = plain.index(name)
                if plain.count(name) > 1:
                    raise ValueError(f"{path}, line 1: two columns are called {name!r}.")
        if {"key", "label"} <= columns.keys():
            return delimiter, columns
    first = text.split("\n", 1)[0].rstrip("\r")
    raise ValueError(
        f"{path}, line 1 must name the columns, `key` (or `file`) and `label` among them, by commas, semicolons or "
        f"tabs; got {shown(first)}."
    )


def _other_delimiter(cell: str, delimiter: str, width: int) -> str | None:
    """Return what else divides a line into as many columns as the header has."""
    others = (other for other in _DELIMITERS if other != delimiter)
    return next((other for other in others if cell.count(other) == width - 1), None)


def _entry(row: list[str], columns: dict[str, int], where: str, cut_column: int) -> Entry:
    cells = {column: row[place] if place < len(row) else "" for column, place in columns.items()}
    cut = next((column for column, place in columns.items() if place == cut_column), "")
    return Entry(
        key=cells["key"],
        said=cells["label"],
        annotator=cells.get("annotator", "").strip(),
        where=where,
        cut={"label": "said"}.get(cut, cut),
    )


def write_table(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write a table with the columns key, label and annotator; the index where keys are no names, and texts.

    Raises:
        ValueError: If something is said that no cell has room for.
    """
    with_index = any(entry.index is not None for entry in entries)
    text = io.StringIO(newline="")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    with_text = any(entry.text is not None for entry in entries)
    writer.writerow(["key", *["index"] * with_index, *["text"] * with_text, "label", "annotator"])
    for entry in entries:
        index = ["" if entry.index is None else entry.index] * with_index
        text_of_it = [entry.text or ""] * with_text
        writer.writerow([entry.key, *index, *text_of_it, word_of(entry.said, classes), entry.annotator])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
