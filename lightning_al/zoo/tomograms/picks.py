"""Picked particles: tables of places and classes, each beside its tomogram."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_al.oracle.people.files.text import read_text
from lightning_al.words import did_you_mean, shown
from lightning_al.zoo.tomograms.volumes import SUFFIXES, volume_shape

_COLUMNS = ("x", "y", "z", "class")
_MOST_NAMED = 3  # rows of a table that an error lists


class Pick(NamedTuple):
    """A particle: the file of its tomogram, what it is called, its voxel (z, y, x), and the name of its class.

    It is called by the file and the coordinates of its row, so that rows may be sorted anew, and others may join.
    """

    path: str
    key: str
    centre: tuple[int, int, int]
    class_name: str


def tomograms_in(folder: Path) -> list[tuple[Path, Path]]:
    """Return the tomograms of a folder and of those below it, sorted, each with the table of its picks.

    Raises:
        FileNotFoundError: If a table has no tomogram beside it, or a tomogram no table.
        ValueError: If two tomograms have one table, or there are none.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    tables = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".csv"}
    tomograms: dict[Path, Path] = {}
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            continue
        other = tomograms.setdefault(path.with_suffix(""), path)
        if other != path:
            raise ValueError(f"{other} and {path.name} would have one table of picks. Give each a name of its own.")
    for stem, table in tables.items():
        if stem not in tomograms:
            beside = [path.name for path in files if path.with_suffix("") == stem and path != table]
            raise FileNotFoundError(
                f"{table} has no tomogram beside it: {stem.name} with one of {', '.join(SUFFIXES)}"
                + (f"; {beside[0]} is of no type that is read. Convert it to MRC." if beside else ".")
            )
    for stem, path in tomograms.items():
        if stem not in tables:
            raise FileNotFoundError(
                f"{path} has no picks beside it. Write {stem.name}.csv with the columns {', '.join(_COLUMNS)}, or take "
                "the file out of the folder."
            )
    if not tomograms:
        raise ValueError(f"{folder} holds no tomogram ({', '.join(SUFFIXES)}).")
    return [(path, tables[stem]) for stem, path in tomograms.items()]


def read_picks(tomogram: Path, table: Path, *, root: Path, cube: int, voxel_size: float) -> list[Pick]:
    """Return the picks of a tomogram, checked against its size, of which the header alone is read.

    Args:
        tomogram: Its file.
        table: A CSV file with the columns x, y, z and class, in any order, parted by commas, semicolons or tabs.
        root: The folder that names of files are below.
        cube: Voxels along each axis of what is cut out.
        voxel_size: In the unit of the coordinates.

    Raises:
        ImportError: If the package is missing that reads the tomogram.
        OSError: If it cannot be read.
        ValueError: If the cube is larger than the volume, there are no picks, or rows are of no use.
    """
    shape = volume_shape(str(tomogram))
    if cube > min(shape):
        raise ValueError(
            f"{tomogram} has {_size(shape)} voxels (x, y, z), too few for a cube of {cube}. Give "
            f"`--data.cube={min(shape)}` at most, or take the file out of the folder."
        )
    picks: dict[str, Pick] = {}
    wrong: list[str] = []
    for line, row in _rows(table):
        try:
            place = [float(row[axis]) for axis in "xyz"]
        except ValueError:
            place = [math.nan]
        if not all(map(math.isfinite, place)):
            wrong.append(f"line {line} has no numbers for x, y and z")
            continue
        # The nearest voxel; halves go up, whether the coordinate is odd or even.
        x, y, z = (math.floor(value / voxel_size + 0.5) for value in place)
        key = f"{tomogram.relative_to(root).as_posix()} {','.join(f'{value:.10g}' for value in place)}"
        if not all(0 <= middle < most for middle, most in zip((z, y, x), shape, strict=True)):
            wrong.append(f"line {line} is at voxel ({x}, {y}, {z}), outside")
        elif key in picks:
            wrong.append(f"line {line} is at a place that a line before it has")
        picks[key] = Pick(str(tomogram), key, (z, y, x), row["class"])
    if wrong:
        raise ValueError(
            f"{table} has {len(wrong)} row(s) that are no pick in {_size(shape)} voxels (x, y, z): "
            f"{'; '.join(wrong[:_MOST_NAMED])}{'; ...' * (len(wrong) > _MOST_NAMED)}. Voxels are counted from 0; for "
            "coordinates in another unit give `--data.voxel_size`."
        )
    if not picks:
        raise ValueError(f"{table} has no picks. Write a row for each, or take the tomogram out of the folder.")
    return list(picks.values())


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the line and the four values of each row."""
    content = read_text(table)
    first = content.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=max(",;\t", key=first.count))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"{table} has no column {missing[0]!r}; its first line has {', '.join(map(shown, header)) or 'none'}. "
            f"It needs {', '.join(_COLUMNS)}."
        )
    rows = []
    for values in reader:
        if any(value.strip() for value in values):
            named = dict(zip(header, values, strict=False))
            rows.append((reader.line_num, {name: named.get(name, "").strip() for name in _COLUMNS}))
    return rows


def class_indices(picks: Sequence[Pick], classes: Sequence[str], *, no_label: int) -> list[int]:
    """Return the class index of each pick, ``no_label`` where its class is blank.

    Raises:
        ValueError: If a class is none of these.
    """
    index_of = {name: index for index, name in enumerate(classes)}
    for pick in picks:
        if pick.class_name and pick.class_name not in index_of:
            raise ValueError(
                f"{pick.key}: no class {pick.class_name!r}{did_you_mean(pick.class_name, classes)}; they are "
                f"{', '.join(classes)}. Correct the row, or add the class to the end of `classes`."
            )
    return [index_of[pick.class_name] if pick.class_name else no_label for pick in picks]


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, reversed(shape)))
