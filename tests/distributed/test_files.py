"""A file of the first rank reaches machines that do not see its disk, and nothing of it is left there."""

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from lightning_al.distributed import files
from lightning_al.distributed.files import all_see, file_of_first
from lightning_al.distributed.ranks import begin_processes
from tests.helpers.marks import slow
from tests.helpers.nodes import on_two_nodes
from tests.helpers.projects import Net, make_trainer


def strategy():
    trainer = make_trainer(".", num_nodes=2, devices=1, strategy=DDPStrategy())
    begin_processes(trainer, Net())
    return trainer.strategy


def read(where, path):
    """The file's content and where it was read, or the error."""
    try:
        with file_of_first(where, path) as file:
            return file.read_bytes(), file == path
    except (OSError, ValueError) as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("found", ["nothing", slow("another"), slow("the same")])
def test_a_file_that_is_not_there_is_sent(tmp_path, monkeypatch, found):
    """In pieces; a file of another content under its name does not stand for it."""
    monkeypatch.setattr(files, "_CHUNK", 1000)
    content = bytes(range(256)) * 17
    others = {"nothing": None, "another": content[:-1] + b"?", "the same": content}[found]
    (tmp_path / "node_0").mkdir()
    (tmp_path / "node_1").mkdir()
    (tmp_path / "node_0" / "file.ckpt").write_bytes(content)
    if others is not None:
        (tmp_path / "node_1" / "file.ckpt").write_bytes(others)

    def part(rank):
        path = tmp_path / f"node_{rank}" / "file.ckpt"
        return read(strategy(), path)

    assert on_two_nodes(part, tmp_path) == [(content, True), (content, found == "the same")]
    assert list((tmp_path / "node_1" / "tmp").iterdir()) == []


@pytest.mark.slow
def test_what_cannot_be_had_is_an_error_on_every_rank(tmp_path, monkeypatch):
    (tmp_path / "node_0" / "pieces").mkdir(parents=True)
    (tmp_path / "node_0" / "file").write_bytes(b"all")

    def part(rank):
        where = strategy()
        gone, pieces = (read(where, tmp_path / "node_0" / name) for name in ("gone", "pieces"))
        if rank == 1:
            monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path / "no such folder"))
        return gone, pieces, read(where, tmp_path / "node_0" / "file")

    for gone, pieces, unwritable in on_two_nodes(part, tmp_path):
        assert gone[0] == "FileNotFoundError"
        assert "is missing" in gone[1]
        assert pieces[0] == "ValueError"
        assert "process 1 does not see it" in pieces[1]
        assert unwritable[0] == "OSError"
        assert "make room there" in unwritable[1]


@pytest.mark.slow
def test_whether_all_see_a_folder(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()

    def part(rank):
        where = strategy()
        return all_see(where, shared / "campaign"), all_see(where, tmp_path / "node_0" / "campaign")

    assert on_two_nodes(part, tmp_path, shared=shared) == [(True, False)] * 2
    assert list(shared.iterdir()) == []
    assert not torch.distributed.is_initialized()


def test_one_process_reads_its_own_file(tmp_path):
    (tmp_path / "file").write_bytes(b"all")
    where = make_trainer(tmp_path).strategy
    assert read(where, tmp_path / "file") == (b"all", True)
    assert read(where, tmp_path)[0] == "IsADirectoryError"
    assert read(where, tmp_path / "gone")[0] == "FileNotFoundError"
    assert all_see(where, tmp_path / "below" / "it")
