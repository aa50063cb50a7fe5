import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_al import Campaign
from tests.helpers.ledger import a_campaign, begin, record


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


def test_starting_over_is_refused_and_changes_nothing(tmp_path):
    a_campaign(tmp_path)
    before = {p.name: p.read_bytes() for p in (tmp_path / "ledger").iterdir()}
    with pytest.raises(FileExistsError, match=f"{tmp_path} holds a campaign already.*resume=True"):
        Campaign.create(tmp_path, size=10, options={})
    assert {p.name: p.read_bytes() for p in (tmp_path / "ledger").iterdir()} == before


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


def test_a_ledger_of_two_samples_in_one_place_is_damaged(tmp_path):
    campaign = begin(tmp_path, size=4)
    record(campaign, "asked", round=-1, indices=[1, 2], keys=["a", "b"], scores=[], seconds={})
    record(campaign, "answered", indices=[1], keys=["a"], labels=[0], annotator="x")
    for now, words in (([3, 3], "distinct|unlabelled"), ([-1, 2], "cannot be gone"), ([9, 2], "between 0 and 3")):
        campaign.write("moved", size=4, root="", indices=[1, 2], now=now, keys=["a", "b"])
        with pytest.raises(ValueError, match=f"Event 000003 .*({words})"):
            Campaign.load(tmp_path)
        (tmp_path / "ledger" / "000003-moved.json").unlink()
