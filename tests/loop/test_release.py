"""Pending samples that are given back."""

import pytest

from lightning_al import AwaitTell, Campaign
from tests.helpers.beside import Split, labels_of
from tests.helpers.projects import Data, loop_in, make_trainer


def asking(tmp_path, data=None, **options):
    return loop_in(tmp_path, data=data, **{"oracle": AwaitTell(), "rounds": None, **options})


def test_they_may_be_asked_for_again(tmp_path):
    data = Split(form="bare")
    loop = asking(tmp_path, data, initial=0)
    first = loop.ask(make_trainer(tmp_path))
    loop.tell(first[:1], labels_of(data, first[:1]))
    loop.release(first[1:3])
    assert loop.pool.pending.tolist() == first[3:]
    later = asking(tmp_path, data, initial=0)  # another process
    rest = later.ask(make_trainer(tmp_path), k=51 - 1)
    assert set(first[1:3]) <= set(rest)
    assert not {first[0], first[3]} & set(rest)
    assert Campaign.load(tmp_path / "c").pool.counts() == (0, 51, 1, 0)


def test_it_needs_no_trainer_and_comes_before_or_after_a_kill(tmp_path):
    first = asking(tmp_path).ask(make_trainer(tmp_path))
    asking(tmp_path).release(first[:5])  # in another process, from the folder alone
    loop = asking(tmp_path)
    loop.tell(first[5:], [0, 1, 2])
    assert len(loop.ask(make_trainer(tmp_path))) == 4
    events = [event for event in Campaign.read_events(tmp_path / "c") if event["kind"] == "released"]
    assert [event["indices"] for event in events] == [first[:5]]


@pytest.mark.slow
def test_what_is_given_back_is_not_promised_of_the_budget(tmp_path):
    loop = asking(tmp_path, Split(form="bare"), initial=0, budget=5)
    first = loop.ask(make_trainer(tmp_path))
    assert len(loop.ask(make_trainer(tmp_path))) == 1
    loop.release(first)
    assert len(loop.ask(make_trainer(tmp_path))) == 4


def test_all_of_the_initial_set_is_asked_for_once_more(tmp_path):
    loop = asking(tmp_path)
    first = loop.ask(make_trainer(tmp_path))
    loop.release(first)
    assert len(loop.ask(make_trainer(tmp_path))) == 8


def test_a_late_label_is_welcome(tmp_path):
    loop = asking(tmp_path)
    first = loop.ask(make_trainer(tmp_path))
    loop.release(first[:1])
    loop.tell(first, [0] * 8)
    assert loop.pool.labelled.tolist() == first


@pytest.mark.parametrize(
    ("indices", "kind", "words"),
    [
        (lambda asked: [asked[0]], ValueError, r"Only pending units can be given back; \d+ is labelled"),
        (lambda asked: [asked[1], *({0, 1, 2} - {*asked})], ValueError, r"\d is unlabelled"),
        (lambda asked: [60], IndexError, "between 0 and 59"),
        (lambda asked: [asked[1]] * 2, ValueError, "distinct"),
        (lambda asked: 3, TypeError, "list of dataset indices"),
    ],
)
def test_what_cannot_be_given_back(tmp_path, indices, kind, words):
    loop = asking(tmp_path)
    asked = loop.ask(make_trainer(tmp_path))
    loop.tell(asked[:1], [0])
    events = len(Campaign.read_events(tmp_path / "c"))
    with pytest.raises(kind, match=words):
        loop.release(indices(asked))
    assert len(Campaign.read_events(tmp_path / "c")) == events
    assert loop.pool.pending.tolist() == asked[1:]


def test_before_there_is_a_campaign(tmp_path):
    with pytest.raises(RuntimeError, match="opened by `ask` or `run`"):
        asking(tmp_path, Data()).release([0])
