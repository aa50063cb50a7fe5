"""Files that the first rank has, for the processes of other machines, which may not see its disk."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import Strategy

from lightning_al.distributed.ranks import gather_objects, on_rank_zero

_CHUNK = 2**26
"""Bytes that travel at a time."""

_END = 2**20
"""Bytes at a file's end that tell it from others: there torch has the checksums of all tensors before."""


class _Look(NamedTuple):
    """By what two processes see that they have the same file."""

    size: int
    digest: str


def _look(path: Path) -> _Look | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END, 0))
        return _Look(size, hashlib.sha256(file.read()).hexdigest())


@contextlib.contextmanager
def file_of_first(strategy: Strategy, path: Path) -> Iterator[Path]:
    """Give every process, inside, a path of a file that the first rank has; all must enter and leave together.

    Where a process sees the same file, it is ``path`` itself. Where it does not, the file is sent, and each machine
    keeps one copy in its temporary folder until the end.

    Args:
        strategy: The Trainer's, its process group already set up.
        path: As the first rank knows it.

    Raises:
        FileNotFoundError: On every rank, if the first has no such file.
        ValueError: On every rank, if it is a folder that not all of them see.
        OSError: On every rank, if a copy cannot be written.
    """
    is_folder, wanted, where = on_rank_zero(strategy, lambda: (path.is_dir(), _look(path), str(path)))
    if is_folder:
        _check_folder(path, where)
        yield path
        return
    if wanted is None:
        raise FileNotFoundError(f"{where} is missing. Restore it from a copy.")
    is_lacking = _look(path) != wanted
    if not any(gather_objects(is_lacking)):
        yield path
        return
    name = on_rank_zero(strategy, lambda: uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir()) / f"lightning_al_{name}"
    writes = is_lacking and getattr(strategy, "local_rank", 0) == 0
    try:
        _send(strategy, path, wanted.size, folder / path.name if writes else None)
        yield folder / path.name if is_lacking else path
    finally:
        strategy.barrier("a file of the first rank")
        if writes:
            shutil.rmtree(folder, ignore_errors=True)


def _check_folder(path: Path, where: str) -> None:
    sees = gather_objects(path.is_dir())
    if not all(sees):
        raise ValueError(
            f"{where} is a checkpoint in pieces, which each process must read, and process {sees.index(False)} does "
            "not see it. Put the campaign (`dirpath=`) and the checkpoints in a folder that all machines share, or "
            "save whole checkpoints: `ModelParallelStrategy(save_distributed_checkpoint=False)`."
        )


def _send(strategy: Strategy, path: Path, size: int, copy: Path | None) -> None:
    """Send a file of the first rank; a process that is to keep it writes ``copy``."""
    failure = ""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(path.open("rb")) if strategy.is_global_zero else None
        target = None
        for start in range(0, size, _CHUNK):
            count = min(_CHUNK, size - start)
            data = bytearray(count) if source is None else bytearray(source.read(count))
            wire = torch.frombuffer(data, dtype=torch.uint8).to(strategy.root_device)
            dist.broadcast(wire, src=0)
            if copy is None or failure:
                continue
            try:  # the others go on sending, and are told in the end
                if target is None:
                    copy.parent.mkdir(mode=0o700)
                    target = stack.enter_context(copy.open("wb"))
                target.write(wire.cpu().numpy().tobytes())
                target.flush()
            except OSError as error:
                failure = f"{copy} could not be written ({error.strerror or error})"
    failures = [said for said in gather_objects(failure) if said]
    if failures:
        raise OSError(f"{failures[0]}, where a copy of {path} is kept for a while: make room there (`TMPDIR`).")


def all_see(strategy: Strategy, folder: Path) -> bool:
    """Whether all processes see what the first writes into a folder, or where it will be; all must call this."""
    probe: Path | None = None

    def make() -> str:
        nonlocal probe
        at = folder.absolute()
        parent = next(each for each in (at, *at.parents) if each.is_dir())
        number, name = tempfile.mkstemp(prefix=".lightning_al_", dir=parent)
        os.close(number)
        probe = Path(name)
        return name

    try:
        name = on_rank_zero(strategy, make)
        return all(gather_objects(Path(name).exists()))
    finally:
        if probe is not None:
            probe.unlink(missing_ok=True)
