import json

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_al import Campaign
from tests.helpers.ledger import a_campaign, answered, asked, begin, record


def test_reads_back_what_was_written(tmp_path):
    written = a_campaign(tmp_path)
    read = Campaign.load(tmp_path)
    assert read.rounds == written.rounds
    assert read.labels == {3: 0, 1: 2, 5: 1}
    assert read.pool.labelled.tolist() == [3, 1, 5]
    assert read.pool.skipped.tolist() == [7]
    assert read.keys[7] == "k7"
    assert read.next_round == 1
    assert read.label_digest == written.label_digest == read.last_fit["digest"]
    first, second = read.rounds
    assert (first.round, first.labelled, first.picked, first.scores) == (0, 2, [7, 5], [0.9, 0.8])
    assert first.seconds == {"fit": 2.0, "evaluate": 0.25, "score": 1.0, "select": 0.5}
    assert (second.round, second.labelled, second.picked, second.metrics) == (1, 3, [], {"acc": 0.75})
    assert second.seconds["score"] == 0
    assert str(second).startswith("round 1: 3 labels | acc 0.75 | fit 2.0s")


def test_events_carry_time_index_key_label_and_annotator(tmp_path):
    a_campaign(tmp_path)
    [path] = (tmp_path / "ledger").glob("000002-*.json")
    event = json.loads(path.read_text())
    assert path.name == "000002-answered.json"
    assert {k: event[k] for k in ("indices", "keys", "labels", "annotator")} == {
        "indices": [3, 1], "keys": ["k3", "k1"], "labels": [0, 2], "annotator": "x",
    }  # fmt: skip
    assert event["time"].startswith("20")


def test_starting_over_is_refused_and_changes_nothing(tmp_path):
    a_campaign(tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "ledger").iterdir()}
    with pytest.raises(FileExistsError, match=f"{tmp_path} holds a campaign already.*resume=True"):
        Campaign.create(tmp_path, size=10, options={})
    assert {p.name: p.read_bytes() for p in (tmp_path / "ledger").iterdir()} == before


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


def test_a_ledger_must_begin_at_the_beginning(tmp_path):
    with pytest.raises(ValueError, match="does not begin"):
        Campaign(tmp_path, [])


def test_ranks_that_do_not_write_still_take_note(tmp_path, monkeypatch):
    campaign = begin(tmp_path)
    other = Campaign.load(tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    files = len(list((tmp_path / "ledger").iterdir()))
    record(other, "asked", round=-1, indices=[1], keys=["1"], scores=[], seconds={})
    assert len(list((tmp_path / "ledger").iterdir())) == files
    assert other.pool.pending.tolist() == [1]
    assert campaign.pool.pending.tolist() == []


def test_the_ledger_grows_with_the_labels_not_with_the_pool(tmp_path):
    campaign = begin(tmp_path, size=1_000_000)
    asked(campaign, -1, [3, 1])
    answered(campaign, [3, 1], [0, 2])
    assert sum(p.stat().st_size for p in (tmp_path / "ledger").iterdir()) < 2_000
