"""A full disk, or a folder that is read-only: a clear error, the old ledger as it was, and the same history later."""

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from lightning.pytorch.strategies import DDPStrategy

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, SegmentationTask
from lightning_al.fitting import RepeatedFit
from lightning_al.storage.blobs import Blob
from tests.helpers import maps
from tests.helpers.projects import Data, Net, make_trainer
from tests.reliability.campaigns import Bureau, Pictures, outcome

ADVICE = r"could not be written \(.*\)\. What was on disk before is intact: make room.*`resume=True`"


@pytest.fixture(autouse=True)
def _checkpoints_every_epoch(monkeypatch):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)


def run(folder, **trainer):
    loop = ActiveLearningLoop(
        Net(batch_norm=True), Data(), initial=6, query_size=3, rounds=1, reset="continue", subpool_size=8,
        dirpath=folder / "campaign", oracle=Bureau(folder / "asked.jsonl"),
    )  # fmt: skip
    loop.run(make_trainer(folder, **{"max_epochs": 1, **trainer}), resume=True)


def ledger(folder):
    return {path.name: path.read_bytes() for path in (folder / "campaign" / "ledger").glob("*.json")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return outcome(folder)


class Disk:
    """Counts what a campaign does to the disk, and lets one of these actions, and all later ones, fail.

    Args:
        fails: The number of the first action that fails, from 1. None: none does.
    """

    def __init__(self, monkeypatch, folder, fails=None, number=errno.ENOSPC):
        self.fails, self.number, self.count, self.ledger = fails, number, 0, None
        self.folder = folder
        opened, renamed, made, synced = Path.open, Path.replace, Path.mkdir, os.fsync

        def open_counted(path, mode="r", *args, **kwargs):
            if mode != "wb":
                return opened(path, mode, *args, **kwargs)
            self.act()
            return Counted(opened(path, mode, *args, **kwargs), self)

        monkeypatch.setattr(Path, "open", open_counted)
        monkeypatch.setattr(Path, "replace", lambda path, new: self.act() or renamed(path, new))
        monkeypatch.setattr(Path, "mkdir", lambda path, *args, **kwargs: self.act() or made(path, *args, **kwargs))
        monkeypatch.setattr(os, "fsync", lambda file: self.act() or synced(file))

    def act(self):
        self.count += 1
        if self.fails is not None and self.count >= self.fails:
            self.ledger = ledger(self.folder) if self.ledger is None else self.ledger
            raise OSError(self.number, os.strerror(self.number))


class Counted:
    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def write(self, values):
        self.disk.act()
        return self.file.write(values)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()


def fails_and_goes_on(tmp_path, monkeypatch, whole, fails, number=errno.ENOSPC):
    folder = tmp_path / str(fails)
    folder.mkdir()
    with monkeypatch.context() as patch:
        disk = Disk(patch, folder, fails, number)
        with pytest.raises(OSError, match=ADVICE) as error:
            run(folder)
    assert error.value.errno == number
    assert str(folder / "campaign") in str(error.value)
    after = ledger(folder)
    assert disk.ledger.items() <= after.items()
    assert len(after) <= len(disk.ledger) + 1  # an event that was complete, but not known to be durable
    assert not list((folder / "campaign").rglob("*.tmp"))
    run(folder)
    assert outcome(folder) == whole
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def actions(tmp_path_factory):
    """How often a campaign acts on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("counted")
        disk = Disk(patch, folder)
        run(folder)
    return disk.count


PARTS = 64  # of the writes, the first of which is always tried


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
def test_the_disk_is_full_at_any_write(tmp_path, monkeypatch, whole, actions, part):
    for fails in range(1 + part, actions + 1, PARTS):
        fails_and_goes_on(tmp_path, monkeypatch, whole, fails)


@pytest.mark.few(2)
@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_the_system_s_reason_is_kept(tmp_path, monkeypatch, whole, actions, number):
    fails_and_goes_on(tmp_path, monkeypatch, whole, actions // 2, number)


def test_the_disk_is_full_while_masks_are_told(tmp_path, monkeypatch):
    """At each thing that is done to the disk in turn, until there is no more."""
    folder = tmp_path / "campaign"
    options = {"initial": 3, "query_size": 3, "dirpath": folder, "oracle": AwaitTell(), "task": SegmentationTask(3)}

    def loop_in():
        return ActiveLearningLoop(maps.MapNet(), Pictures(num_workers=0), **options)

    asked = loop_in().ask(make_trainer(tmp_path))
    before = ledger(tmp_path)
    fails, told = 0, {}
    while not told:
        fails += 1
        with monkeypatch.context() as patch, contextlib.suppress(OSError):
            Disk(patch, tmp_path, fails)
            loop_in().tell(asked, map(maps.told, asked))
        assert not list(folder.rglob("*.tmp"))
        assert all(Blob.kept(path.parent, path.name).is_whole for path in (folder / "labels").glob("*"))
        told = Campaign.load(folder).labels
        assert bool(told) == (len(ledger(tmp_path)) > len(before))
        assert before.items() <= ledger(tmp_path).items()
        if not told:
            shutil.rmtree(folder / "labels", ignore_errors=True)  # each time from the beginning
    assert all(blob.is_whole for blob in told.values())
    assert fails > 15


# ---------------------------------------------------------------------------------------------------------- real disks


@contextlib.contextmanager
def mounted(folder, kilobytes):
    """A file system in memory; yields a function that mounts it again with other options."""
    folder.mkdir(parents=True)

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if shutil.which("mount") is None or not mount(f"size={kilobytes}k"):
        pytest.skip("no file system can be mounted here")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.few(2)
@pytest.mark.parametrize("kilobytes", [4, 12, 20, 28, 40, 48])
def test_a_disk_that_really_is_full(tmp_path, whole, kilobytes):
    """Also what Lightning writes: the checkpoints inside a round."""
    with mounted(tmp_path / "campaign", kilobytes) as remount:
        with pytest.raises(OSError, match=ADVICE) as error:
            run(tmp_path)
        assert error.value.errno == errno.ENOSPC
        before = ledger(tmp_path)
        assert not list((tmp_path / "campaign").rglob("*.tmp"))
        assert remount("size=8m")
        run(tmp_path)
        assert before.items() <= ledger(tmp_path).items()
        assert outcome(tmp_path) == whole


def test_a_folder_that_became_read_only_is_refused_before_anything_trains(tmp_path):
    trained = []

    class Trains(Net):
        def on_train_start(self):
            trained.append(1)

    def loop_in():
        options = {"initial": 6, "query_size": 3, "dirpath": tmp_path / "campaign", "oracle": AwaitTell()}
        return ActiveLearningLoop(Trains(), Data(), **options)

    with mounted(tmp_path / "campaign", 8000) as remount:
        loop = loop_in()
        first = loop.ask(make_trainer(tmp_path))
        before = ledger(tmp_path)
        assert remount("ro")
        for opened in (loop, loop_in()):
            with pytest.raises(OSError, match=ADVICE):
                opened.tell(first, [i % 3 for i in range(6)])
            assert opened.pool.pending.tolist() == first
        assert remount("rw")
        loop.tell(first, [i % 3 for i in range(6)])
        assert remount("ro")
        for opened in (loop, loop_in()):
            with pytest.raises(OSError, match=ADVICE) as error:
                opened.ask(make_trainer(tmp_path))
            assert error.value.errno == errno.EROFS
        assert not trained
        assert remount("rw")
        assert not set(loop.ask(make_trainer(tmp_path))) & set(first)
        assert before.items() <= ledger(tmp_path).items()


def test_nobody_is_asked_for_what_cannot_be_written(tmp_path):
    with mounted(tmp_path / "campaign", 8000) as remount:
        options = {"initial": 6, "query_size": 3, "rounds": 1, "dirpath": tmp_path / "campaign"}
        ActiveLearningLoop(Net(), Data(), **options, oracle=AwaitTell()).run(make_trainer(tmp_path))
        assert remount("ro")
        loop = ActiveLearningLoop(Net(), Data(), **options, oracle=Bureau(tmp_path / "asked.jsonl"))
        with pytest.raises(OSError, match=ADVICE):
            loop.run(make_trainer(tmp_path), resume=True)
        assert not (tmp_path / "asked.jsonl").exists()


def test_a_finished_campaign_can_be_read_from_a_read_only_folder(tmp_path, whole):
    with mounted(tmp_path / "campaign", 8000) as remount:
        run(tmp_path)
        assert remount("ro")
        run(tmp_path)
        assert outcome(tmp_path) == whole


def test_a_new_campaign_in_a_read_only_folder(tmp_path):
    with mounted(tmp_path / "disk", 8000) as remount:
        assert remount("ro")
        loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=3, dirpath=tmp_path / "disk" / "campaign")
        with pytest.raises(OSError, match=ADVICE):
            loop.run(make_trainer(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["answered", "resume", "weights", "fitted"])
def test_a_full_disk_ends_both_of_two_processes(tmp_path, monkeypatch, fails):
    def both():
        run(tmp_path, strategy=DDPStrategy(start_method="fork"), devices=2)

    renamed = Path.replace

    def replace(path, new):
        if fails in new.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return renamed(path, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Exception, match=ADVICE):
            both()
    both()
    assert [len(r.picked) for r in Campaign.load(tmp_path / "campaign").rounds] == [3, 0]
