"""Samples found again in a dataset that grew, shrank and was reordered, against a plain dict."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import Campaign
from lightning_al.campaign import Standing
from lightning_al.campaign.history import read_rounds
from lightning_al.data.keys import SampleKeys
from tests.helpers.extent import examples
from tests.helpers.ledger import record
from tests.helpers.moves import TASK, answer, ask, labels_of, reopen, search, start
from tests.helpers.moving import Named, Nameless, Noisy, NoisyNamed, Paths


def states_of(campaign, dataset):
    pool = campaign.pool
    return {state: [dataset.order[i] for i in getattr(pool, state).tolist()] for state in ("labelled", "pending")} | {
        state: {dataset.order[i] for i in getattr(pool, state).tolist()} for state in ("skipped", "unlabelled")
    }


# -- against a plain dict ----------------------------------------------------------------------------------------------

NAMES = [f"{folder}/{i}" for folder in "ab" for i in range(8)]


class Oracle:
    """What is known of each sample, by what it is."""

    def __init__(self):
        self.state: dict[str, str] = {}  # pending, labelled, skipped
        self.labels: dict[str, int] = {}  # in the order they came
        self.questions: list[list[str]] = []
        self.given_back: set[str] = set()

    def check(self, campaign, dataset):
        here = set(dataset.order)
        keys = SampleKeys(dataset, dataset, TASK)
        assert campaign.keys == {i: keys.key(i) for i in campaign.keys}
        known = self.state.keys() | self.given_back
        assert {dataset.order[i] for i in campaign.keys} == here & known
        assert len(campaign.pool) == len(dataset)
        assert labels_of(campaign, dataset) == self.labels
        states = states_of(campaign, dataset)
        assert states["labelled"] == list(self.labels)
        for state in ("pending", "skipped"):
            assert set(states[state]) == {s for s in here if self.state.get(s) == state}
        assert states["unlabelled"] == here - self.state.keys()
        picked = [[dataset.order[i] for i in result.picked] for result in campaign.rounds]
        assert picked == [[s for s in question if s in here] for question in self.questions]
        scores = [result.scores for result in campaign.rounds]
        assert scores == [[float(i) for i, s in enumerate(q) if s in here] for q in self.questions]
        # What is on disk says the same, with torch and without.
        read = Campaign.load(campaign.dirpath)
        assert (read.labels, read.keys, read.gone) == (campaign.labels, campaign.keys, campaign.gone)
        assert read.rounds == campaign.rounds == read_rounds(campaign.dirpath)
        assert read.label_digest == campaign.label_digest
        standing = Standing(campaign.dirpath)
        assert standing.size == len(dataset)
        given_back = {unit: read.keys.get(unit) for unit in read.keys if dataset.order[unit] not in self.state}
        assert {unit: standing.samples[unit].key for unit in standing.units("unlabelled")} == given_back
        for state in ("labelled", "pending", "skipped"):
            units = standing.units(state)
            assert set(units) == set(getattr(read.pool, state).tolist())
            assert {unit: standing.samples[unit].key for unit in units} == {unit: read.keys.get(unit) for unit in units}
        assert {unit: standing.samples[unit].label for unit in standing.units("labelled")} == read.labels
        assert {unit: sample.key for unit, sample in standing.samples.items() if unit < 0} == {
            unit: gone.key for unit, gone in read.gone.items()
        }
        assert standing.spent == read.pool.spent


def changed(order, before, kind):
    """An order of another length: without names, samples that were gone are looked for where the number changed."""
    if kind is not Nameless or len(order) != len(before):
        return order
    return [*order, next(name for name in [*NAMES, "c/0"] if name not in order)]


@examples(15)
@given(data=st.data(), kind=st.sampled_from([Named, Nameless, NoisyNamed]))
def test_labels_follow_their_samples(tmp_path_factory, data, kind):
    """Whatever is asked, answered, skipped, added, removed and put back, in any order, over several starts."""
    drawn = st.lists(st.sampled_from(NAMES), min_size=3, unique=True)
    dataset, oracle = kind(data.draw(drawn)), Oracle()
    campaign = start(tmp_path_factory.mktemp("moves") / "c", dataset)
    for _ in range(data.draw(st.integers(1, 3))):
        free = [s for s in dataset.order if s not in oracle.state]
        question = data.draw(st.lists(st.sampled_from(free), unique=True, max_size=4)) if free else []
        if question:
            ask(campaign, dataset, question, number=len(oracle.questions))
            oracle.questions.append(question)
            oracle.state |= dict.fromkeys(question, "pending")
        pending = [s for s in dataset.order if oracle.state.get(s) == "pending"]
        for sample in data.draw(st.permutations(pending)):
            how = data.draw(st.sampled_from(["label", "skip", "wait", "give back"]))
            if how == "label":
                oracle.labels[sample] = data.draw(st.integers(0, 9))
                oracle.state[sample] = "labelled"
                answer(campaign, dataset, {sample: oracle.labels[sample]})
            elif how == "skip":
                oracle.state[sample] = "skipped"
                record(campaign, "skipped", indices=[dataset.order.index(sample)], annotator="tell")
            elif how == "give back":
                del oracle.state[sample]
                oracle.given_back.add(sample)
                record(campaign, "released", indices=[dataset.order.index(sample)])
        oracle.check(campaign, dataset)
        before = campaign.label_digest
        dataset = kind(changed(data.draw(drawn), dataset, kind))
        lost = [s for s in oracle.labels if s not in dataset.order]
        if lost:
            files = sorted(p.name for p in (campaign.dirpath / "ledger").iterdir())
            with pytest.raises(ValueError, match=f"^{len(lost)} of {len(oracle.labels)} labelled samples .*forget"):
                reopen(campaign, dataset)
            assert sorted(p.name for p in (campaign.dirpath / "ledger").iterdir()) == files
            back = data.draw(st.booleans())
            if back:
                dataset = kind(changed([*dataset.order, *lost], campaign.pool, kind))
            else:
                campaign.forget([campaign.keys[i] for s in lost for i in [_index(campaign, s, kind)]])
                for sample in lost:
                    del oracle.labels[sample]
                    oracle.state[sample] = "skipped"
                before = campaign.label_digest
        campaign = reopen(campaign, dataset)
        oracle.check(campaign, dataset)
        assert campaign.label_digest == before  # a fit of these labels is one still
        assert search(campaign, dataset).move() is None


def _index(campaign, sample, kind):
    alone = kind([sample])
    key = SampleKeys(alone, alone, TASK).key(0)
    [index] = [i for i, k in campaign.keys.items() if k == key]
    return index


# -- what it costs -----------------------------------------------------------------------------------------------------


def labelled(path, dataset, samples):
    campaign = start(path, dataset)
    ask(campaign, dataset, samples, number=-1)
    answer(campaign, dataset, {s: i for i, s in enumerate(samples)})
    return campaign


MANY = [f"{i:04}" for i in range(400)]


def draws(campaign, dataset):
    """How many different samples are drawn to find those of the campaign; what tells random inputs is not counted."""
    finding = search(campaign, dataset)
    assert finding.keys.by_index is False
    dataset.drawn.clear()
    finding.move()
    return len(set(dataset.drawn))


@pytest.mark.parametrize(
    ("now", "most"),
    [
        (MANY, 20),
        ([*MANY, "new"], 20),  # behind all that is known
        (["new", *MANY], 200),
        (MANY[1:], 200),
        ([*MANY[:150], "new", *MANY[150:386], *MANY[390:]], 300),
    ],
    ids=["unmoved", "one more", "one before", "one less", "a few"],
)
def test_only_samples_near_those_that_are_known_are_drawn(tmp_path, now, most):
    known = MANY[5:395:20]
    campaign = labelled(tmp_path, Nameless(MANY), known)
    assert draws(campaign, Nameless(now)) <= most
    assert labels_of(reopen(campaign, Nameless(now)), Nameless(now)) == {s: i for i, s in enumerate(known)}
    campaign = labelled(tmp_path / "named", Named(MANY), known)
    assert draws(campaign, Named(now)) == 0


# -- twins -------------------------------------------------------------------------------------------------------------


def test_samples_with_one_input_stand_in_for_each_other(tmp_path):
    dataset = Nameless(["a", "x~1", "x~2", "b"])
    campaign = labelled(tmp_path, dataset, ["x~2", "b"])
    moved = Nameless(["b", "new", "x~1", "c", "x~2"])
    campaign = reopen(campaign, moved)
    assert campaign.labels == {2: 0, 0: 1} or campaign.labels == {4: 0, 0: 1}
    campaign = reopen(campaign, Nameless(["x~1", "b"]))
    assert campaign.labels == {0: 0, 1: 1}
    with pytest.raises(ValueError, match=r"^1 of 2 labelled samples .*dataset index 0 \(sha256:"):
        reopen(campaign, Nameless(["b", "a"]))


def test_the_one_with_the_data_set_s_own_label_comes_first(tmp_path):
    own = {"x~1": 3, "x~2": 5, "b": 7}
    dataset = Nameless(["x~1", "x~2", "b"], own)
    campaign = start(tmp_path, dataset)
    ask(campaign, dataset, ["x~2", "b"], number=-1)
    answer(campaign, dataset, {"x~2": 5, "b": 7}, annotator="dataset")
    for order in (["x~2", "x~1", "b"], ["b", "x~1", "new", "x~2"], ["x~1", "x~2", "b"]):
        dataset = Nameless(order, own)
        campaign = reopen(campaign, dataset)
        assert labels_of(campaign, dataset) == {"x~2": 5, "b": 7}
    ask(campaign, dataset, ["x~1"])
    answer(campaign, dataset, {"x~1": 3}, annotator="dataset")
    dataset = Nameless(["x~2", "b", "x~1"], own)
    assert labels_of(reopen(campaign, dataset), dataset) == own
    with pytest.raises(ValueError, match=r"had label 7 when .* has 0 now: .* another, .* targets were random"):
        reopen(campaign, Nameless(["x~2", "b", "x~1"], {**own, "b": 0}))


def test_a_name_of_several_samples_is_none(tmp_path):
    class Crops(Paths):
        @property
        def files(self):
            return [s.split(":")[0] for s in self.order]

    dataset = Crops(["1.jpg:a", "1.jpg:b", "2.jpg:a", "3.jpg:a"])
    campaign = labelled(tmp_path, dataset, ["1.jpg:b", "2.jpg:a"])
    assert [campaign.keys[i][:7] for i in (1, 2)] == ["sha256:", "2.jpg"]
    moved = Crops(["2.jpg:a", "1.jpg:b", "3.jpg:a", "1.jpg:a"])
    assert labels_of(reopen(campaign, moved), moved) == {"1.jpg:b": 0, "2.jpg:a": 1}


# -- folders -----------------------------------------------------------------------------------------------------------


def under(folder, names=NAMES):
    return Paths([f"{folder}{name}" for name in names])


def test_a_folder_that_was_moved(tmp_path, caplog):
    caplog.set_level("INFO")
    known = ["a/1", "b/3"]
    campaign = labelled(tmp_path, under("/old/"), [f"/old/{s}" for s in known])
    assert campaign.root == "/old/"
    for folder in ("/new/place/", "", "/old/", "/old/sub/"):
        dataset = under(folder, ["c/1", *NAMES[::-1]])
        campaign = reopen(campaign, dataset)
        assert labels_of(campaign, dataset) == {f"{folder}a/1": 0, f"{folder}b/3": 1}
        assert set(campaign.keys.values()) == {f"{folder}a/1", f"{folder}b/3"}
        assert campaign.root == folder
    assert "files are in '/new/place/' now, and were in '/old/'" in caplog.text


@pytest.mark.parametrize("here", ["/old/b/1", "/new/b/1", "/new/x/b/a/1"])
def test_another_file_of_the_same_name_is_another(tmp_path, here):
    """Where the labelled one is gone; all others may have moved."""
    campaign = labelled(tmp_path, under("/old/"), ["/old/a/1"])
    folder = here[:5]
    dataset = Paths([here, *(f"{folder}{s}" for s in NAMES if s != "a/1" and f"{folder}{s}" != here)])
    if here.endswith("/a/1"):  # the folder below the common one is the same
        assert labels_of(reopen(campaign, dataset), dataset) == {here: 0}
    else:
        with pytest.raises(ValueError, match=r"^1 of 1 labelled samples .* not in the dataset any more.*'/old/a/1'"):
            reopen(campaign, dataset)


def test_a_moved_folder_that_lacks_a_file(tmp_path):
    campaign = labelled(tmp_path, under("/old/"), ["/old/a/1", "/old/b/1", "/old/b/2"])
    with pytest.raises(ValueError, match=r"^1 of 3 labelled .*: '/old/a/1'\. Put them back as they were; or"):
        reopen(campaign, under("/new/", [s for s in NAMES if s != "a/1"]))


# -- known by the index alone ------------------------------------------------------------------------------------------


def test_random_inputs_stay_at_their_index(tmp_path):
    dataset = Noisy(NAMES)
    campaign = labelled(tmp_path, dataset, ["a/2", "b/1"])
    assert campaign.keys == {}
    assert search(campaign, Noisy(NAMES)).move() is None
    with pytest.raises(ValueError, match=r"dataset of 16 samples; this one has 17.*index alone \(2, 9\).*sample_key"):
        reopen(campaign, Noisy([*NAMES, "new"]))
    # Named once in the old order, they may move.
    campaign = reopen(campaign, NoisyNamed(NAMES))
    assert campaign.keys == {2: "a/2", 9: "b/1"}
    moved = NoisyNamed([*NAMES[::-1], "new"])
    assert labels_of(reopen(campaign, moved), moved) == {"a/2": 0, "b/1": 1}


def test_inputs_that_became_random_are_not_taken_for_moved_ones(tmp_path):
    campaign = labelled(tmp_path, Nameless(NAMES), ["a/2", "b/1"])
    keys = dict(campaign.keys)
    assert reopen(campaign, Noisy(NAMES)).labels == {2: 0, 9: 1}
    assert campaign.keys == keys  # should they be as before again
    moved = Nameless(NAMES[::-1])
    assert labels_of(reopen(campaign, moved), moved) == {"a/2": 0, "b/1": 1}
    with pytest.raises(ValueError, match="dataset of 16 samples; this one has 15"):
        reopen(campaign, Noisy(NAMES[1:]))


def test_hashes_become_names_where_there_are_some(tmp_path):
    campaign = labelled(tmp_path, Nameless(NAMES), ["a/2", "b/1"])
    moved = Named(NAMES[::-1])
    campaign = reopen(campaign, moved)
    assert set(campaign.keys.values()) == {"a/2", "b/1"}
    assert labels_of(campaign, moved) == {"a/2": 0, "b/1": 1}
    with pytest.raises(ValueError, match=r"^2 of 2 labelled samples .*'a/2', 'b/1'"):
        reopen(campaign, Nameless(NAMES))  # of whose names nothing is known


def test_labels_told_before_the_data_were_opened_get_their_key_next_time(tmp_path):
    campaign = labelled(tmp_path, Nameless(NAMES), ["a/2"])
    record(campaign, "answered", indices=[5], keys=[None], labels=[7], annotator="tell")
    with pytest.raises(ValueError, match=r"has samples that moved.*1 of its samples by their index alone \(5\)"):
        reopen(campaign, Nameless(NAMES[::-1]))
    campaign = reopen(campaign, Nameless(NAMES))
    moved = Nameless(NAMES[::-1])
    assert labels_of(reopen(campaign, moved), moved) == {"a/2": 0, NAMES[5]: 7}


# -- ledgers of before -------------------------------------------------------------------------------------------------


def as_before(campaign, keys):
    """Write a ledger anew as it was when indices were keys where there were no files."""
    for path in sorted((campaign.dirpath / "ledger").glob("*.json")):
        event = json.loads(path.read_text())
        event.pop("root", None)
        if "keys" in event:
            event["keys"] = [keys(i) for i in event["indices"]]
        path.write_text(json.dumps(event))


@pytest.mark.parametrize(("kind", "key"), [(Nameless, str), (Noisy, str), (Paths, lambda i: NAMES[i])])
def test_a_ledger_of_before_goes_on(tmp_path, kind, key):
    campaign = labelled(tmp_path, kind(NAMES), ["a/2", "b/1"])
    digest = campaign.label_digest
    as_before(campaign, key)
    read = Campaign.load(tmp_path)
    assert (read.root, read.labels, read.label_digest) == (None, {2: 0, 9: 1}, digest)
    campaign = reopen(read, kind(NAMES))
    assert (campaign.labels, campaign.label_digest) == ({2: 0, 9: 1}, digest)
    if kind is not Noisy:
        moved = kind([*NAMES[::-1], "new"])
        assert labels_of(reopen(campaign, moved), moved) == {"a/2": 0, "b/1": 1}


def test_a_ledger_of_before_whose_samples_have_no_names_keeps_its_size(tmp_path):
    as_before(labelled(tmp_path, Nameless(NAMES), ["a/2", "b/1"]), str)
    for other in (NAMES[:-1], [*NAMES, "new"]):
        with pytest.raises(ValueError, match=f"dataset of 16 samples; this one has {len(other)}"):
            reopen(Campaign.load(tmp_path), Nameless(other))


def test_names_that_are_numbers_are_no_indices(tmp_path):
    numbers = [str(i) for i in range(10)]
    campaign = labelled(tmp_path, Named(numbers), ["3", "4"])
    for order in (numbers[::-1], [*numbers[5:], *numbers[:5]], ["4", "3"]):
        campaign = reopen(campaign, Named(order))
        assert labels_of(campaign, Named(order)) == {"3": 0, "4": 1}


# -- forgetting --------------------------------------------------------------------------------------------------------


def test_labels_are_taken_back(tmp_path):
    campaign = labelled(tmp_path, Named(NAMES), ["a/2", "b/1"])
    with pytest.raises(ValueError, match="No labelled sample is called 'a/3'"):
        campaign.forget(["a/2", "a/3"])
    with pytest.raises(ValueError, match=re.escape("forget(['a/2'])")):
        reopen(campaign, Named(NAMES[4:]))
    campaign.forget("a/2")
    assert (campaign.labels, campaign.pool.spent) == ({9: 1}, 1)
    campaign = reopen(campaign, Named(NAMES[4:]))
    assert labels_of(campaign, Named(NAMES[4:])) == {"b/1": 1}
    campaign = reopen(campaign, Named(NAMES))  # and should it come back, nobody is asked
    assert campaign.pool.skipped.tolist() == [2]
