"""Rows on disk: found again by their keys, within a limit, whole or not at all, whoever else writes."""

import os

import pytest
import torch

from lightning_al.storage import kept_rows
from lightning_al.storage.kept_rows import KeptRowsOnDisk, make_room


def keys_of(*numbers):
    return torch.tensor([[n * 7919 % 97, n] for n in numbers])


def opened(folder, said=None, limit=2**20, expected=10):
    return KeptRowsOnDisk(folder, limit=limit, expected=expected, say=(said if said is not None else []).append)


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_rows_of_several_parts_and_processes_are_found_in_the_order_of_the_question(tmp_path):
    one, other = opened(tmp_path), opened(tmp_path)  # neither sees what the other writes meanwhile
    one.add("outputs", keys_of(3, 1), [values(3, 1), values(30, 10).view(2, 1)], "form")
    one.flush()
    other.add("outputs", keys_of(2), [values(2), values(20).view(1, 1)], "form")
    other.flush()
    again = opened(tmp_path)
    found = again.find("outputs", keys_of(1, 8, 2, 3))
    assert found.which.tolist() == [True, False, True, True]
    assert [leaf.tolist() for leaf in found.leaves] == [[1, 2, 3], [[10], [20], [30]]]
    assert found.form == "form"
    assert again.find("outputs", keys_of(8)) is None
    assert again.find("features None None", keys_of(1)) is None


def test_half_of_a_key_is_not_enough(tmp_path):
    rows = opened(tmp_path)
    rows.add("outputs", torch.tensor([[5, 6]]), [values(1)], "")
    rows.flush()
    assert rows.find("outputs", torch.tensor([[5, 7]])) is None


def test_rows_of_other_shapes_are_not_mixed(tmp_path):
    rows = opened(tmp_path)
    rows.add("outputs", keys_of(1, 2), [torch.zeros(2, 3)], "")
    rows.add("outputs", keys_of(3), [torch.ones(1, 4)], "")
    rows.flush()
    found = opened(tmp_path).find("outputs", keys_of(1, 2, 3))
    assert found.which.tolist() == [True, True, False]


def test_a_kind_for_which_there_is_no_room_is_not_begun(tmp_path):
    said = []
    rows = opened(tmp_path, said, limit=1000, expected=100)
    for n in range(3):
        rows.add("outputs", keys_of(n), [torch.zeros(1, 100)], "")  # 400 bytes of 100 samples
    rows.add("features None None", keys_of(1), [torch.zeros(1, 1, dtype=torch.uint8)], "")
    rows.flush()
    assert rows.find("outputs", keys_of(1)) is None
    assert said == ["outputs of 100 samples take 4.2e-05 GB", "features of 100 samples take 1.7e-06 GB"]
    assert not list(tmp_path.iterdir())


def test_never_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_rows, "PART_BYTES", 3000)
    rows = opened(tmp_path, limit=40_000, expected=1)
    for n in range(20):
        rows.add("outputs", keys_of(n), [torch.zeros(1, 1000)], "")
    rows.flush()
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 20_000 < size <= 40_000


def _cut(path):
    path.write_bytes(path.read_bytes()[:80])


def _flip(path):
    """One bit of a row, in a file that is whole."""
    content = bytearray(path.read_bytes())
    leaf = torch.load(path)["leaves"][0]
    content[content.index(leaf.numpy().tobytes())] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, lambda path: path.write_text("no"), _flip])
def test_a_damaged_file_is_left_out_and_removed(tmp_path, damage):
    rows = opened(tmp_path)
    rows.add("outputs", keys_of(1), [values(1)], "")
    rows.flush()
    [path] = tmp_path.iterdir()
    damage(path)
    assert opened(tmp_path).find("outputs", keys_of(1)) is None
    assert not path.exists()


def test_a_kill_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    rows = opened(tmp_path)
    rows.add("outputs", keys_of(1), [values(1)], "")
    rows.flush()

    def killed(part, file):
        file.write(b"half")
        os._exit(9)

    monkeypatch.setattr(torch, "save", killed)
    child = os.fork()
    if child == 0:
        rows.add("outputs", keys_of(2), [values(2)], "")
        rows.flush()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(tmp_path.glob("*.tmp"))) == 1
    found = opened(tmp_path).find("outputs", keys_of(1, 2))
    assert found.which.tolist() == [True, False]
    make_room(tmp_path.parent, tmp_path, 2**20)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch):
    def full(part, file):
        raise OSError(28, "No space left on device")

    said = []
    rows = opened(tmp_path, said)
    monkeypatch.setattr(torch, "save", full)
    for n in (1, 2):
        rows.add("outputs", keys_of(n), [values(n)], "")
        rows.flush()
    assert said == ["it cannot be written (No space left on device)"]
    assert not list(tmp_path.iterdir())


def test_what_is_dropped_is_gone(tmp_path):
    said = []
    rows = opened(tmp_path / "a", said)
    rows.add("outputs", keys_of(1), [values(1)], "")
    rows.flush()
    rows.add("outputs", keys_of(2), [values(2)], "")
    rows.drop("other outputs")
    rows.flush()
    assert rows.find("outputs", keys_of(1)) is None
    assert (said, (tmp_path / "a").exists()) == (["other outputs"], False)


def test_room_is_made_by_what_was_used_longest_ago(tmp_path):
    for age, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.pt").write_bytes(bytes(400))
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert make_room(tmp_path, tmp_path / "a", 1000) == 600  # the one that is used now stays
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert (tmp_path / "a").stat().st_mtime > 2000
    assert make_room(tmp_path, tmp_path / "d", 5000) == 4600
    assert make_room(tmp_path / "none", tmp_path / "none" / "d", 70) == 70
