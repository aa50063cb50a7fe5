"""One's own texts: a CSV table, of which some rows have a label and others have none yet."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_count
from lightning_al.oracle.people.files.text import read_text
from lightning_al.words import did_you_mean, shown
from lightning_al.zoo.own_files import NO_LABEL, OwnFilesDataModule, is_held_out

_SHOWN = 60  # characters of a text that are in its key


class Row(NamedTuple):
    """A text, what it is called, and its class index."""

    text: str
    key: str
    label: int


def tokens_of(text: str, *, vocabulary: int, max_length: int) -> Tensor:
    """Return a text's words and punctuation as numbers (max_length,), by their hash; 0 where the text has ended.

    No list of words is kept, so that texts which join change nothing. Capitals are small letters.

    Example:
        >>> tokens_of("Good, good!", vocabulary=100, max_length=6)
        tensor([ 2, 25,  2, 88,  0,  0])
    """
    words = re.findall(r"\w+|[^\w\s]", text.lower())[:max_length]
    numbers = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") for word in words]
    return torch.tensor([1 + number % (vocabulary - 1) for number in numbers] + [0] * (max_length - len(words)))


def key_of_text(text: str) -> str:
    """Return what a text without an id is called: a hash of it, and its beginning, for the people who label it.

    Example:
        >>> key_of_text("The plot is thin,  the cast is not.")
        '45e953fed5 The plot is thin, the cast is not.'
    """
    return f"{hashlib.sha256(text.encode()).hexdigest()[:10]} {' '.join(text.split())[:_SHOWN]}".strip()


class Texts(Dataset[tuple[Tensor, int]]):
    """Texts as numbers of words.

    Args:
        rows: Of the table.
        classes: Names, by class index.
        vocabulary: Words have numbers below this.
        max_length: Words of a text, at most.
    """

    def __init__(self, rows: list[Row], *, classes: Sequence[str], vocabulary: int, max_length: int) -> None:
        self.rows = rows
        self.classes = list(classes)
        self.vocabulary = vocabulary
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.rows[index]
        return tokens_of(row.text, vocabulary=self.vocabulary, max_length=self.max_length), row.label

    def sample_key(self, index: int) -> str:
        """Return the id of a row, or what its text is called."""
        return self.rows[index].key

    def sample_text(self, index: int) -> str:
        """Return the text, which people read."""
        return self.rows[index].text


class TextTableDataModule(OwnFilesDataModule):
    """A CSV table of texts; rows without a label may be asked for.

    .. code-block:: text

        text,label
        "A fine film, well played.",good
        "I left after ten minutes.",

    The first row has the names of the columns, of which there may be others too. Rows may join, or get their label in
    the table, between two starts; one that is told stays with the campaign.

    Args:
        file: The table, in UTF-8; its columns are parted by commas, semicolons or tabs.
        text: The column of texts.
        label: The column of class names; blank: nobody has said it yet.
        id: The column that names rows, where there is one of this name. Else a row is known by its text, of which
            there should be only one.
        classes: Names of the classes, in order. Default: what is in the column, sorted.
        val_share: The share of the labelled rows that validate and never train, drawn by a hash of the key, so that
            a row stays where it is when others join. 0: there is no validation.
        vocabulary: Words get numbers below this by their hash; as the network's.
        max_length: Words of a text that are looked at, at most; as the network's.
        batch_size: Texts per training batch.
        eval_batch_size: Texts per validation batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if a column is missing, a label is of no class, or an id
            comes twice.
        FileNotFoundError: In ``setup``, if there is no such file.
    """

    def __init__(
        self,
        file: str,
        *,
        text: str = "text",
        label: str = "label",
        id: str = "id",
        classes: list[str] | None = None,
        val_share: float = 0.0,
        vocabulary: int = 30_000,
        max_length: int = 128,
        batch_size: int = 32,
        eval_batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(
                    classes=classes,
                    val_share=val_share,
                    batch_size=batch_size,
                    eval_batch_size=eval_batch_size,
                    num_workers=num_workers,
                )
            findings.of(check_count, "vocabulary", vocabulary, 2)
            findings.of(check_count, "max_length", max_length)
        self.file = file
        self.columns = {"text": text, "label": label, "id": id}
        self.vocabulary = vocabulary
        self.max_length = max_length

    def read_sets(self) -> dict[str, Texts]:
        """Read the table."""
        entries = self._read()
        named = [entry[1] for entry in entries if entry[1]]
        classes = sorted(set(named)) if self.named_classes is None else list(self.named_classes)
        if not classes:
            raise ValueError(f"{self.file} has no label yet, so say the names of the classes: `--data.classes=[a,b]`.")
        split: dict[str, list[Row]] = {"train": [], "val": [], "unlabelled": []}
        for text, name, key, line in entries:
            if name and name not in classes:
                meant = did_you_mean(name, classes)
                raise ValueError(f"{self.file}, line {line}: no class {name!r}{meant}; they are {', '.join(classes)}.")
            held_out = bool(name) and is_held_out(key, self.val_share)
            part = "val" if held_out else "train" if name else "unlabelled"
            split[part].append(Row(text, key, classes.index(name) if name else NO_LABEL))
        options: Any = {"classes": classes, "vocabulary": self.vocabulary, "max_length": self.max_length}
        return {part: Texts(rows, **options) for part, rows in split.items()}

    def _read(self) -> list[tuple[str, str, str, int]]:
        """Return text, class name, key and line of each row that has a text."""
        path = Path(self.file).expanduser()
        content = read_text(path)
        first = content.split("\n", 1)[0]
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=max(",;\t", key=first.count))
        header = list(reader.fieldnames or [])
        for column in (self.columns["text"], self.columns["label"]):
            if column not in header:
                raise ValueError(
                    f"{path} has no column {column!r}; its first line has {', '.join(map(shown, header)) or 'none'}. "
                    "Say which are meant: `--data.text=...`, `--data.label=...`."
                )
        entries, has_ids = [], self.columns["id"] in header
        for row in reader:
            text = (row[self.columns["text"]] or "").strip()
            if text:
                key = (row[self.columns["id"]] or "").strip() if has_ids else key_of_text(text)
                entries.append((text, (row[self.columns["label"]] or "").strip(), key, reader.line_num))
        if has_ids:
            [(key, times)] = Counter(entry[2] for entry in entries).most_common(1) or [("", 0)]
            if times > 1:
                raise ValueError(f"{path}: {times} rows have the id {key!r}. Give each row its own.")
        return entries
