"""Folders of tiny pictures, whose colour says their class, and tables that people fill in."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20)}


def paint(path, colour, number=0):
    """Save a picture of one colour with a little noise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(-20, 20, (10, 12, 3))
    Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)).save(path)


def fill_folders(folder, labelled=2, unlabelled=4):
    """Paint pictures of each class, with numbers of their own."""
    for place, colour in enumerate(COLOURS):
        (Path(folder) / "labelled" / colour).mkdir(parents=True, exist_ok=True)
        for number in range(labelled):
            paint(Path(folder) / "labelled" / colour / f"{place}{number:02d}.png", colour, 100 * place + number)
        for number in range(50, 50 + unlabelled):
            paint(Path(folder) / "unlabelled" / f"{place}{number}.png", colour, 100 * place + number)


def colour_of(key):
    return list(COLOURS)[int(Path(key).name[0])]


def keys_in(table):
    with open(table, newline="") as file:
        return [row["key"] for row in csv.DictReader(file)]


def fill_in(table, answer):
    """Fill a table in, as a person would; return its keys."""
    keys = keys_in(table)
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["key", "label"], *([key, answer(key)] for key in keys)])
    return keys
