import hashlib
import json
import pickle

import pytest

from lightning_al.storage import blobs
from lightning_al.storage.blobs import Blob, as_read, from_json, keep, to_json

DATA = b"all that there is"
NAME = hashlib.sha256(DATA).hexdigest() + ".png"


def test_it_is_its_content_s_hash_and_suffix(tmp_path):
    blob = Blob(DATA, ".png")
    assert (blob.name, blob.suffix, blob.data, blob.path) == (NAME, ".png", DATA, None)
    keep(tmp_path, [blob])
    kept = Blob.kept(tmp_path, NAME)
    assert (kept.name, kept.suffix, kept.data, kept.path) == (NAME, ".png", DATA, tmp_path / NAME)
    assert kept == blob
    assert len({kept, blob, Blob(DATA, ".bin"), Blob(b"", ".png")}) == 3
    assert kept != NAME


def test_one_that_is_kept_holds_no_content_and_goes_to_other_processes_so(tmp_path):
    data = bytes(100_000)
    keep(tmp_path, [Blob(data, ".png")])
    kept = Blob.kept(tmp_path, Blob(data, ".png").name)
    assert kept.data == data
    sent = pickle.dumps(kept)
    assert len(sent) < 500
    assert pickle.loads(sent).data == data
    assert pickle.loads(pickle.dumps(Blob(DATA, ".png"))).data == DATA


def test_it_is_frozen():
    with pytest.raises(AttributeError, match="frozen"):
        Blob(DATA, ".png").name = "x"
    with pytest.raises(AttributeError, match="frozen"):
        Blob(DATA, ".png")._content = b""


@pytest.mark.parametrize("suffix", ["", "png", ".", "./..", ".p/g", ".PNG", 3])
def test_a_suffix_that_is_none(suffix):
    with pytest.raises(ValueError, match="suffix"):
        Blob(DATA, suffix)


@pytest.mark.parametrize("name", ["", "../x.png", NAME + "/..", NAME[:63] + ".png", "A" * 64 + ".png"])
def test_a_name_that_is_none(tmp_path, name):
    with pytest.raises(ValueError, match="no name of a blob"):
        Blob.kept(tmp_path, name)
    assert from_json(json.dumps({"blob": name}), None) == {"blob": name}  # a label of its own


def test_text_is_no_content():
    with pytest.raises(TypeError, match="of bytes, got str"):
        Blob("text", ".png")


def test_in_json_it_is_its_name(tmp_path):
    blob = Blob(DATA, ".png")
    value = {"labels": [3, blob, [[0, 1]], {"boxes": [1.5], "mask": blob}], "blob": 2}
    text, found = to_json(value)
    assert json.loads(text) == {
        "labels": [3, {"blob": NAME}, [[0, 1]], {"boxes": [1.5], "mask": {"blob": NAME}}], "blob": 2,
    }  # fmt: skip
    assert set(found) == {blob}
    keep(tmp_path, found)
    back = from_json(text, lambda name: Blob.kept(tmp_path, name))
    assert back == value
    assert back["labels"][1].path == tmp_path / NAME
    assert as_read((1, blob)) == [1, blob]
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        to_json([{1}])


def test_it_is_written_once(tmp_path, monkeypatch):
    keep(tmp_path / "labels", [Blob(DATA, ".png")] * 2)
    keep(tmp_path / "labels", [])
    before = (tmp_path / "labels" / NAME).stat()
    monkeypatch.setattr(blobs, "publish", None)
    keep(tmp_path / "labels", [Blob(DATA, ".png"), Blob.kept(tmp_path / "labels", NAME)])
    assert (tmp_path / "labels" / NAME).stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in (tmp_path / "labels").iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"", DATA[:-1], DATA + b"x"])
def test_one_that_is_damaged_is_refused_and_written_again(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{NAME} is damaged.*Restore it"):
        Blob.kept(tmp_path, NAME).data
    keep(tmp_path, [Blob(DATA, ".png")])
    assert Blob.kept(tmp_path, NAME).data == DATA


def test_one_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"{NAME} is missing.*Restore it"):
        Blob.kept(tmp_path, NAME).data


def test_one_of_another_folder_is_copied(tmp_path):
    keep(tmp_path / "one", [Blob(DATA, ".png")])
    keep(tmp_path / "two", [Blob.kept(tmp_path / "one", NAME)])
    assert (tmp_path / "two" / NAME).read_bytes() == DATA


def test_what_cannot_be_written_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    keep(tmp_path, [Blob(b"before", ".png")])
    with monkeypatch.context() as patch:
        patch.setattr(blobs.os, "fsync", full)
        with pytest.raises(
            OSError, match=rf"{NAME} could not be written \(No space.*What was on disk before is intact"
        ):
            keep(tmp_path, [Blob(b"before", ".png"), Blob(DATA, ".png")])
    assert [path.name for path in tmp_path.iterdir()] == [Blob(b"before", ".png").name]
