"""A campaign goes on in one launch at a time: another one is refused before it trains what would be for nothing."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LOCK = "launch.lock"
"""File in the campaign's folder for as long as a launch goes on; one that was killed leaves it, which is no matter."""

_PATIENCE = 10.0  # seconds in which the workers of a launch that was killed, which hold its lock too, have ended
_LOOK_EVERY = 0.2


@contextlib.contextmanager
def one_launch(dirpath: Path) -> Iterator[None]:
    """Keep other launches of the campaign in ``dirpath`` from going on, or from beginning it.

    The lock ends with the process that has it. On a file system without locks there is none: of two launches one ends
    once both write the same event.

    Args:
        dirpath: The campaign's folder; made where it is not there.

    Raises:
        FileExistsError: If another launch is under way.
    """
    path = dirpath / LOCK
    lock = _lock(path)
    try:
        yield
    finally:
        if lock is not None:
            _unlock(lock, path)


def _lock(path: Path) -> int | None:
    """Return the open lock; None on a file system that has none.

    Raises:
        FileExistsError: If another process has it, and keeps it.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # what is to be written fails too, and says why
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(lock, 200, 0).decode(errors="replace")
            os.close(lock)
            if time.monotonic() >= until:
                raise FileExistsError(_refusal(path, who)) from None
            time.sleep(_LOOK_EVERY)
        except OSError:
            _unlock(lock, path)
            return None
        else:
            if _is_there(lock, path):
                with contextlib.suppress(OSError):  # a full disk
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, _this_process().encode(), 0)
                return lock
            os.close(lock)  # whoever had it has taken it away


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _refusal(path: Path, who: str) -> str:
    if who == _this_process():
        return (
            f"The campaign in {path.parent} goes on in this very process, in a launch that has not ended. Nothing was "
            "changed: begin another one after that, and not within it, as in a callback or another thread."
        )
    return (
        f"The campaign in {path.parent} goes on in another process{f' ({who})' if who else ''}. Nothing was changed: "
        "let that one end, or end it, and run again with `resume=True` (`--resume`). If it was killed, processes that "
        f"it started are left, or its machine was lost: then end those, or remove {path}."
    )


def _is_there(lock: int, path: Path) -> bool:
    """Whether a file that was opened is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except OSError:
        return False


def _unlock(lock: int, path: Path) -> None:
    """Take the lock away, also from workers that were forked meanwhile and have it open too."""
    if _is_there(lock, path):
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
