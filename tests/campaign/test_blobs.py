"""Labels that are files beside the ledger."""

import json
import os
import tracemalloc

import pytest

from lightning_al import Campaign
from lightning_al.campaign import Standing
from lightning_al.campaign.beside import Gone
from lightning_al.storage.blobs import Blob
from tests.helpers.ledger import answered, asked, begin, fitted, record

ONE, TWO = Blob(b"one", ".png"), Blob(b"two", ".png")


def a_campaign(path, *labels):
    campaign = begin(path)
    asked(campaign, -1, [3, 1])
    answered(campaign, [3, 1], list(labels))
    return campaign


def test_the_ledger_has_its_name_and_the_folder_its_content(tmp_path):
    campaign = a_campaign(tmp_path, ONE, [[0, 1]])
    event = json.loads((tmp_path / "ledger" / "000002-answered.json").read_text())
    assert event["labels"] == [{"blob": ONE.name}, [[0, 1]]]
    assert [path.name for path in (tmp_path / "labels").iterdir()] == [ONE.name]
    for each in (campaign, Campaign.load(tmp_path)):
        assert each.labels == {3: ONE, 1: [[0, 1]]}
        assert each.labels[3].path == tmp_path / "labels" / ONE.name
        assert each.labels[3].data == b"one"
        assert each.label_digest == campaign.label_digest
    assert Standing(tmp_path).samples[3].label.data == b"one"


def test_the_digest_goes_by_the_content(tmp_path):
    campaigns = [
        a_campaign(tmp_path / str(n), *labels) for n, labels in enumerate([(ONE, TWO), (ONE, TWO), (TWO, ONE)])
    ]
    first, same, other = [campaign.label_digest for campaign in campaigns]
    assert first == same != other


def test_where_the_campaign_is_moved_to_it_is_too(tmp_path):
    a_campaign(tmp_path / "before", ONE, TWO)
    (tmp_path / "before").rename(tmp_path / "after")
    assert Campaign.load(tmp_path / "after").labels[3].data == b"one"


def test_from_another_working_directory(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    campaigns = [a_campaign("campaign", ONE, TWO), Campaign.load("campaign")]
    monkeypatch.chdir(tmp_path / "there")
    assert [campaign.labels[1].data for campaign in campaigns] == [b"two"] * 2


def test_corrections_moves_and_what_is_forgotten(tmp_path):
    campaign = a_campaign(tmp_path, ONE, TWO)
    answered(campaign, [1], [ONE])
    move = {"size": 8, "root": "", "indices": [3, 1], "now": [0, 2], "keys": ["k3", "k1"]}
    record(campaign, "moved", **move)
    assert campaign.labels == {0: ONE, 2: ONE}
    record(campaign, "moved", known=[2], size=7, root="", indices=[2], now=[-1], keys=["k1"])
    assert campaign.gone[-1] == Gone("k1", "labelled", ONE, 1.0)
    record(campaign, "moved", size=8, root="", indices=[-1], now=[5], keys=["k1"])
    campaign.forget(["k3"])
    for each in (campaign, Campaign.load(tmp_path)):
        assert each.labels == {5: ONE}
        assert each.labels[5].data == b"one"


def test_it_is_on_disk_before_the_event(tmp_path, monkeypatch):
    campaign = begin(tmp_path)
    asked(campaign, -1, [3, 1])
    written = []
    sync = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: written.append(os.readlink(f"/proc/self/fd/{file}")) or sync(file))
        answered(campaign, [3, 1], [ONE, ONE])
    names = [os.path.relpath(path, tmp_path) for path in written]
    # The folder is new, then the file and that it has its name, then the event.
    assert names == [".", f"labels/{ONE.name}.tmp", "labels", "ledger/000002-answered.json.tmp", "ledger"]


def test_an_event_that_cannot_be_written_is_not_there(tmp_path):
    campaign = a_campaign(tmp_path, ONE, TWO)
    (tmp_path / "labels" / (Blob(b"three", ".png").name + ".tmp")).mkdir()  # where nothing can be written then
    with pytest.raises(OSError, match="could not be written"):
        answered(campaign, [5], [Blob(b"three", ".png")])
    assert Campaign.load(tmp_path).labels == {3: ONE, 1: TWO}
    assert len(list((tmp_path / "ledger").glob("*.json"))) == 3


def test_what_a_kill_left_is_removed(tmp_path):
    campaign = a_campaign(tmp_path, ONE, TWO)
    fitted(campaign, 0, 0.5)
    (tmp_path / "labels" / (ONE.name + ".tmp")).write_bytes(b"o")
    campaign.states.remove_old(campaign.fits, campaign.next_fit)
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {ONE.name, TWO.name}


def test_thousands_of_labels_are_as_large_as_their_names(tmp_path):
    count, each = 500, 20_000
    campaign = begin(tmp_path, size=count)
    for some in range(0, count, 100):
        answered(
            campaign,
            list(range(some, some + 100)),
            [Blob(bytes([i % 256] * each) + b"%d" % i, ".png") for i in range(some, some + 100)],
        )
    for hold in (lambda: campaign, lambda: Campaign.load(tmp_path)):
        tracemalloc.start()
        held = hold()
        size = sum(len(held.labels[i].data) for i in range(count))
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size > count * each
        assert now < count * 2000
        assert peak < count * 2000 + 10 * each
    assert all(blob.path is not None for blob in campaign.labels.values())
