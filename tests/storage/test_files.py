"""Files that appear whole or not at all; under a full disk: tests/reliability/test_full_disk.py."""

import os

import pytest

from lightning_al.storage.files import atomic_write


def test_nothing_appears_when_writing_fails(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]
