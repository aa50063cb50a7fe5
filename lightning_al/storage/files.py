"""Files that appear whole or not at all, and survive a power cut."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Any]:
    """Open a file for binary writing that appears under its name whole or not at all, and survives a power cut.

    Writes a temporary file beside it, fsyncs it, renames it, and fsyncs the folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x"
        >>> with atomic_write(path) as file:
        ...     _ = file.write(b"all")
        >>> path.read_bytes()
        b'all'
    """
    beside = path.with_name(path.name + ".tmp")
    with write_errors_explained(path, beside):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(beside, path)


@contextlib.contextmanager
def atomic_text(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """Open a file for text in UTF-8, as :func:`atomic_write`; ends of lines are written as they are.

    Args:
        path: Of the file.
        errors: What is done with what UTF-8 has not, as ``open`` has it.
    """
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors=errors, newline="")
        yield text
        text.flush()
        text.detach()  # the file is not this one's to close


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> Path:
    """Write rows under one line of their names, whole or not at all, and return the path; None is an empty field.

    Args:
        path: Of the file.
        rows: Of values by name.
        columns: The names; default those of the first row.
    """
    with atomic_text(path) as text:
        writer = csv.DictWriter(text, list(rows[0]) if columns is None else columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


@contextlib.contextmanager
def write_errors_explained(path: Path, beside: Path) -> Iterator[None]:
    """If writing ``path`` fails inside, remove the partial file ``beside`` and raise an error that says what to do.

    Raises:
        OSError: Of the kind and number that the system gave, as for a full disk or a read-only folder.
    """
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):  # there may be no folder, or a read-only one
            beside.unlink()
        # On a full disk `torch.save` goes on to a complaint of its own.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, OSError):
            raise
        raise OSError(
            cause.errno,
            f"{path} could not be written ({cause.strerror or cause}). What was on disk before is intact: make room, "
            "or make the folder writable, then run again with `resume=True` (`--resume`), or `tell` again.",
        ) from error


def publish(beside: Path, path: Path) -> None:
    """Rename a file that is already on disk to its final name, and make the rename durable."""
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make durable which files are in a folder."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
