"""Wrong files: folders that a campaign cannot begin in, and files of features."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_al.acquisition import CoreSet
from tests.reliability.wrong import Project, Row

FOLDERS = [
    ("a file", lambda p: p.dirpath.write_text("notes"), NotADirectoryError, r"dirpath=.*c.* is a file"),
    ("below a file", lambda p: p.dirpath.write_text("notes"), NotADirectoryError, "c is a file. Name another"),
    (
        "a ledger that is a file",
        lambda p: (p.dirpath.mkdir(), (p.dirpath / "ledger").write_text("x")),
        NotADirectoryError,
        "ledger is a file",
    ),
    (
        "weights of one's own",
        lambda p: (p.dirpath.mkdir(), (p.dirpath / "initial.ckpt").write_text("mine")),
        FileExistsError,
        "holds initial.ckpt.*name another `dirpath`",
    ),
]


def _features(name: str, write: Callable[[Path], Any]) -> tuple[Callable[[Project], Any], Callable[[Project], Any]]:
    return lambda p: write(p.folder / name), lambda p: p.run(acquisition=CoreSet(encoder=p.folder / name))


class _Harm:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("harm",))


FEATURES = [
    ("of 59 samples", "f.npy", lambda f: np.save(f, np.ones((59, 2))), ValueError, "59 samples and the training .* 60"),
    ("with NaN", "f.npy", lambda f: np.save(f, np.full((60, 2), np.nan)), ValueError, "NaN or infinite .* 60 of 60"),
    ("of integers", "f.npy", lambda f: np.save(f, np.ones((60, 2), int)), TypeError, "int64 of shape"),
    ("of three dimensions", "f.npy", lambda f: np.save(f, np.ones((60, 2, 2))), TypeError, r"\(N, d\).*\(60, 2, 2\)"),
    (
        "of objects",
        "f.npy",
        lambda f: np.save(f, np.array([_Harm()], object), allow_pickle=True),
        (TypeError, ValueError),
        "f.npy",
    ),
    ("of text", "f.npy", lambda f: f.write_text("1 2 3"), (TypeError, ValueError), "f.npy"),
    ("of text, torch", "f.pt", lambda f: f.write_text("1 2 3"), (TypeError, ValueError), "f.pt"),
    ("that runs code", "f.pt", lambda f: torch.save(_Harm(), f), (TypeError, ValueError), "f.pt"),
    (
        "a dict",
        "f.pt",
        lambda f: torch.save({"x": torch.ones(60, 2)}, f),
        TypeError,
        "must hold floating features .*dict",
    ),
    ("of another format", "f.csv", lambda f: f.write_text("1,2"), TypeError, "read from `.npy` and `.pt`"),
    ("of another byte order", "f.npy", lambda f: np.save(f, np.ones((60, 2), ">f4")), TypeError, "byte order: save"),
]


ROWS = [
    *(
        Row(
            f"folder: {name}",
            error,
            words,
            lambda p, n=name: p.run(dirpath=p.dirpath / ("x" * n.startswith("below"))),
            given,
        )
        for name, given, error, words in FOLDERS
    ),
    *(
        Row(f"features: {name}", error, words, *reversed(_features(file, write)))
        for name, file, write, error, words in FEATURES
    ),
]
