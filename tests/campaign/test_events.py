"""Events on disk."""

import json
import threading

import pytest

from lightning_al import Campaign
from lightning_al.campaign import events
from tests.helpers.ledger import a_campaign, answered, asked, begin


def test_events_carry_time_index_key_label_and_annotator(tmp_path):
    a_campaign(tmp_path)
    [path] = (tmp_path / "ledger").glob("000002-*.json")
    event = json.loads(path.read_text())
    assert path.name == "000002-answered.json"
    assert {k: event[k] for k in ("indices", "keys", "labels", "annotator")} == {
        "indices": [3, 1], "keys": ["k3", "k1"], "labels": [0, 2], "annotator": "x",
    }  # fmt: skip
    assert event["time"].startswith("20")


def test_a_leftover_of_a_killed_write_is_ignored(tmp_path):
    a_campaign(tmp_path)
    (tmp_path / "ledger" / "000007-answered.json.tmp").write_text('{"kind": "answ')
    assert len(Campaign.load(tmp_path).rounds) == 2


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    a_campaign(tmp_path)
    one, two = Campaign.load(tmp_path), Campaign.load(tmp_path)
    answered(one, [0], [0])
    with pytest.raises(FileExistsError, match="another process"):
        two.write("fitted", round=2)
    assert Campaign.load(tmp_path).labels[0] == 0


@pytest.mark.parametrize("kinds", [("answered", "answered"), ("answered", "skipped")])
def test_of_two_that_write_at_once_the_second_is_told_so(tmp_path, monkeypatch, kinds):
    """The first is on disk by half while the second begins: what was reported as written must be what is there."""
    campaign = a_campaign(tmp_path)
    keep, half, seen, said = events.keep, threading.Event(), threading.Event(), {}

    def slow(folder, blobs):
        half.set()
        seen.wait(0.2)  # the second has looked by then, if it could
        keep(folder, blobs)

    def write(number):
        try:
            fields = {"indices": [number], "keys": ["k"], "labels": [number], "annotator": str(number)}
            campaign.write(kinds[number], **fields)
            said[number] = "written"
        except FileExistsError as error:
            said[number] = str(error)
        seen.set()

    monkeypatch.setattr(events, "keep", slow)
    threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    threads[0].start()
    half.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert said[0] == "written"
    assert "nothing was written" in said[1]
    assert Campaign.read_events(tmp_path)[-1]["annotator"] == "0"
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_ledger_grows_with_the_labels_not_with_the_pool(tmp_path):
    campaign = begin(tmp_path, size=1_000_000)
    asked(campaign, -1, [3, 1])
    answered(campaign, [3, 1], [0, 2])
    assert sum(p.stat().st_size for p in (tmp_path / "ledger").iterdir()) < 2_000


@pytest.mark.parametrize("sizes", [[[5, 6]], [[5, 6], [0, 6]], [[5, 6], "5 x 6"], [[5, 6], [5]], {"3": [5, 6]}])
def test_sizes_of_images_that_are_none(tmp_path, sizes):
    begin(tmp_path)
    event = {"kind": "asked", "round": -1, "indices": [3, 1], "keys": ["a", "b"], "scores": [], "seconds": {}}
    path = tmp_path / "ledger" / "000001-asked.json"
    path.write_text(json.dumps({"schema": 1, **event, "sizes": [[5, 6], None]}))
    assert Campaign.load(tmp_path).sizes == {3: (5, 6)}
    path.write_text(json.dumps({"schema": 1, **event, "sizes": sizes}))
    with pytest.raises(ValueError, match=r"000001.*(`sizes` must be|as many of each)"):
        Campaign.load(tmp_path)
