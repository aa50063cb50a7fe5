"""The scores of samples as a table: index, key and score of all, the picks in order; in memory, and as CSV."""

import csv
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_al.completion import OffersLess
from lightning_al.distributed.ranks import Ranks
from lightning_al.extras import pandas_or
from lightning_al.storage.files import atomic_text
from lightning_al.words import cut, shown

COLUMNS = ("key", "index", "score", "rank")

_ROWS = 2**14  # that are made into text at a time

KeysOf = Callable[[Tensor], Sequence[str | None]]


def scores_file(round_number: int) -> str:
    """Return the file, in a campaign's folder, of the scores that were kept of a round's question."""
    return f"scores/round_{round_number}.csv"


def read_scores(dirpath: Path | None, round_number: int) -> "Scores":
    """Return the scores that were kept of a round's question in a campaign's folder.

    Raises:
        FileNotFoundError: If they were not kept.
    """
    path = None if dirpath is None else dirpath / scores_file(round_number)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"No scores were kept of round {round_number}"
            + (": there is no campaign yet." if path is None else f": {path} is missing.")
            + " Ask with `keep_scores=True`."
        )
    return Scores.read_csv(path)


class Scores(OffersLess):
    """The scores of samples, and which of them were picked.

    Args:
        index: (N,) indices in the dataset that was scored, distinct and ascending.
        key: What the samples are called, whatever their place in the dataset; None where one is known by its index
            alone. Found when it is looked at: a sample that has no name is read for it, since its key is a hash of its
            input.
        score: (N,), larger = more wanted; None where the acquisition scores nothing, but selects at once.
        picks: Indices of the picks, best first.
        unreadable: Samples that could not be read, by index, and why; they have no score.

    Example:
        >>> scores = Scores(torch.tensor([0, 1, 2]), ["a.png", "b.png", "c.png"], torch.tensor([0.1, 0.7, 0.3]), [1])
        >>> scores
        Scores(3 samples, 1 pick)
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> scores.to_csv(path)
        >>> print(path.read_text(), end="")
        key,index,score,rank
        b.png,1,0.7,1
        c.png,2,0.3,
        a.png,0,0.1,
        >>> Scores.read_csv(path).picks
        [1]
    """

    _not_offered = "of"

    def __init__(
        self,
        index: Tensor,
        key: Sequence[str | None],
        score: Tensor | None,
        picks: list[int],
        unreadable: Mapping[int, str] | None = None,
    ) -> None:
        self.index = index
        self.key = key
        self.score = score
        self.picks = picks
        self.unreadable = dict(unreadable or {})

    @classmethod
    def of(
        cls,
        candidates: Tensor,
        scores: Tensor | None,
        picks: list[int],
        keys_of: KeysOf,
        *,
        unreadable: Mapping[int, str] | None = None,
    ) -> "Scores":
        """Return the table of candidates, which are in any order.

        Args:
            candidates: (N,) dataset indices.
            scores: Theirs, (N,), or None.
            picks: Indices of the picks, best first.
            keys_of: Gives the keys of samples.
            unreadable: As in the constructor.
        """
        order = candidates.argsort()
        index = candidates[order]
        return cls(index, keys_of(index), None if scores is None else scores[order], picks, unreadable)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        picks = f"{len(self.picks)} pick{'s' * (len(self.picks) != 1)}"
        without = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"Scores({len(self)} samples, {picks}{without})"

    @property
    def order(self) -> Tensor:
        """(N,) positions in :attr:`index`: the picks, best first, then all others, the largest score first."""
        picked = torch.searchsorted(self.index, torch.tensor(self.picks, dtype=torch.long))
        rest = torch.arange(len(self))
        if self.score is not None:
            rest = self.score.argsort(descending=True, stable=True)
        is_left = torch.ones(len(self), dtype=torch.bool)
        is_left[picked] = False
        return torch.cat([picked, rest[is_left[rest]]])

    def rows(self) -> Iterator[tuple[str | None, int, Any, int | None]]:
        """Go through key, index, score (None where there is none) and rank (None: not picked), in that :attr:`order`.

        A few thousand rows are in memory at a time.
        """
        ranks: Iterator[int | None] = chain(range(1, len(self.picks) + 1), iter(lambda: None, 0))
        for positions in self.order.split(_ROWS):
            scores = [None] * len(positions) if self.score is None else _numbers(self.score[positions])
            indices = self.index[positions].tolist()
            for position, index, score in zip(positions.tolist(), indices, scores, strict=True):
                yield self.key[position], index, score, next(ranks)

    def to_csv(self, path: str | Path, *, picks_only: bool = False) -> None:
        """Write a CSV file with the columns key, index, score and rank: the picks first, then the largest scores.

        The rank counts the picks from 1, and is empty for what was not picked. Scores have the digits that their
        precision has. The file appears whole or not at all; of several processes the first writes it.

        Args:
            path: Of the file.
            picks_only: Whether what was not picked is left out.
        """
        if not Ranks().is_first:
            return
        with atomic_text(Path(path), errors="surrogateescape") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(islice(self.rows(), len(self.picks) if picks_only else None))  # None is written as nothing

    @classmethod
    def read_csv(cls, path: str | Path) -> "Scores":
        """Read what :meth:`to_csv` wrote; scores as float64.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is another kind of file; with the line.
        """
        index, score, ranks = array("q"), array("d"), array("q")
        keys: list[str | None] = []
        with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, None)
            if header != list(COLUMNS):
                raise ValueError(
                    f"{path} holds no scores: its first line must be {','.join(COLUMNS)}, got {shown(header)}."
                )
            for row in _rows_of(reader, path):
                try:
                    key, place, value, rank = row
                    index.append(int(place))
                    score.append(float(value) if value else float("nan"))
                    ranks.append(int(rank) if rank else 0)
                except (ValueError, OverflowError) as error:
                    raise ValueError(f"{path}, line {reader.line_num}: {cut(error)}.") from None
                keys.append(key or None)
        indices, scores, places = _tensor(index), _tensor(score), _tensor(ranks)
        picked = torch.nonzero(places).flatten()
        picks = indices[picked[places[picked].argsort()]].tolist()
        order = indices.argsort()
        has_scores = not bool(scores.isnan().any())
        return cls(indices[order], [keys[i] for i in order.tolist()], scores[order] if has_scores else None, picks)

    def to_frame(self) -> Any:
        """Return a pandas ``DataFrame`` of the rows of :meth:`to_csv`.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = pandas_or("to_csv(path)")
        order = self.order
        ranks = torch.arange(1, len(self) + 1).numpy()
        columns = {
            "key": [self.key[position] for position in order.tolist()],
            "index": self.index[order].numpy(),
            "score": [None] * len(self) if self.score is None else _array(self.score[order]),
            "rank": pandas.array(ranks, dtype="Int64"),
        }
        columns["rank"][len(self.picks) :] = pandas.NA
        return pandas.DataFrame(columns)


def _rows_of(reader: Any, path: str | Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from None


def _array(values: Tensor) -> Any:
    """A NumPy array, which has no type for bfloat16."""
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _numbers(values: Tensor) -> list[Any]:
    """NumPy's scalars, which are written with the digits of their own precision; of float64 Python's floats."""
    return values.tolist() if values.dtype == torch.float64 else list(_array(values))


def _tensor(values: "array[Any]") -> Tensor:
    dtype = {"q": torch.int64, "d": torch.float64}[values.typecode]
    return torch.tensor(values, dtype=dtype) if len(values) else torch.empty(0, dtype=dtype)
