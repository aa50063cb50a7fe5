"""Two machines, simulated by two forked processes that do not see each other's disks."""

import errno
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.ranks import free_port, in_forks

_EVENTS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")


def on_two_nodes(function: Callable[[int], Any], folder: Path, *, shared: Path | None = None) -> list[Any]:
    """Run ``function(rank)`` as torchrun does with one process on each of two machines; return what each gives.

    Machine ``r`` works in ``folder / f"node_{r}"``, which the other does not see, nor what the other has in its
    ``tmp``.

    Args:
        function: Is given the global rank; the local rank is 0 on both.
        folder: Of the test.
        shared: A folder that both see, wherever it is.
    """

    def begin(rank: int, port: str) -> None:
        numbers = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": rank}
        os.environ |= {name: str(number) for name, number in numbers.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
        own = folder / f"node_{rank}"
        (own / "tmp").mkdir(parents=True, exist_ok=True)
        os.chdir(own)
        tempfile.tempdir = str(own / "tmp")
        hide(folder / f"node_{1 - rank}", but=shared)

    return in_forks(function, 2, begin, str(free_port()))


def hide(folder: Path, *, but: Path | None = None) -> None:
    """Let this process see nothing in a folder, from now on and for good."""
    hidden, stat = f"{folder}{os.sep}", os.stat

    def check(path: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        name = os.path.abspath(os.fsdecode(path)) + os.sep
        if name.startswith(hidden) and not (but is not None and name.startswith(f"{but}{os.sep}")):
            raise FileNotFoundError(errno.ENOENT, "hidden: on the disk of another machine", name)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            for path in arguments[:2] if event == "os.rename" else arguments[:1]:
                if isinstance(path, (str, bytes, os.PathLike)):
                    check(path)

    def seen(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        check(path)
        return stat(path, *args, **kwargs)

    sys.addaudithook(audit)
    os.stat = seen
