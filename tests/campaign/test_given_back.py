"""Samples that were given back, in data that move: a late label is of the sample that was meant, or of none."""

import pytest

from lightning_al import Campaign
from lightning_al.campaign import Standing, tell_campaign
from lightning_al.campaign.told import Codec
from lightning_al.oracle import read_labels
from tests.helpers.ledger import record
from tests.helpers.moves import answer, ask, labels_of, reopen, search, start
from tests.helpers.moving import Named


@pytest.mark.parametrize("now", [["new", "a", "b", "c"], ["b", "c", "a"]])
def test_a_late_label_is_of_the_sample_that_is_there_now(tmp_path, now):
    """Also where nothing moved but what was given back."""
    dataset = Named(["a", "b", "c"])
    campaign = start(tmp_path, dataset)
    ask(campaign, dataset, ["a", "b"])
    record(campaign, "released", indices=[0, 1])
    reopen(campaign, Named(now))
    late = Campaign.load(tmp_path)  # in another process, of the folder alone
    answer(late, Named(now), {now[1]: 5})
    assert labels_of(reopen(late, Named(now)), Named(now)) == {now[1]: 5}


def test_what_was_given_back_and_is_gone_takes_no_label(tmp_path):
    dataset = Named(["a", "b", "c"])
    campaign = start(tmp_path / "c", dataset)
    ask(campaign, dataset, ["a", "c"])
    record(campaign, "released", indices=[0, 2])
    reopen(campaign, Named(["b", "a"]))
    file = tmp_path / "late.csv"
    file.write_text("key,label\na,1\nc,1\n")
    with pytest.raises(ValueError, match="line 3: 'c' was not in the data any more"):
        tell_campaign(tmp_path / "c", [read_labels(file)], codec=Codec(int, str))
    file.write_text("key,label\na,1\n")
    tell_campaign(tmp_path / "c", [read_labels(file)], codec=Codec(int, str))
    back = reopen(campaign, Named(["c", "b", "a"]))
    assert (back.labels, back.keys) == ({2: 1}, {0: "c", 2: "a"})
    assert search(back, Named(["c", "b", "a"])).move() is None


def test_a_ledger_that_did_not_follow_what_was_given_back(tmp_path):
    """As older ledgers are: keys that are not those of the samples there now come right at the next opening."""
    campaign = start(tmp_path, Named(["a", "b", "c", "d"]))
    ask(campaign, Named(["a", "b", "c", "d"]), ["a", "b", "d"])
    record(campaign, "released", indices=[1, 3])
    record(campaign, "moved", size=3, root="", indices=[0], now=[1], keys=["a"])
    standing = Standing(tmp_path)
    assert {unit: each.key for unit, each in standing.samples.items()} == {1: "a"}
    assert campaign.keys[1] == "a"
    now = Named(["d", "a", "e"])
    opened = reopen(campaign, now)
    assert (opened.keys, opened.pool.pending.tolist()) == ({0: "d", 1: "a"}, [1])
    assert search(opened, now).move() is None
