"""The keys of a dataset's samples: names of their own, hashes, and where neither is, none."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import ClassificationTask
from lightning_al.data import keys as module
from lightning_al.data.keys import SampleKeys, common_folder
from lightning_al.tasks.keys import hash_of
from tests.helpers.moving import Named, Nameless, Noisy, Paths, input_of

TASK = ClassificationTask()


def keys_of(train_set, pool_set=None, task=TASK):
    return SampleKeys(train_set, train_set if pool_set is None else pool_set, task)


def test_names_then_hashes_of_the_un_augmented_input():
    assert keys_of(Named("abc")).key(1) == "b"
    assert keys_of(Nameless("abc")).key(1) == hash_of(input_of("b"))
    assert keys_of(Noisy("abc"), Nameless("abc")).key(1) == hash_of(input_of("b"))
    assert keys_of(Noisy("abc"), Named("abc")).key(1) == "b"  # whichever of the two has names
    assert keys_of(Noisy("abc")).key(1) is None
    assert keys_of(Noisy("abc")).by_index


def test_keys_of_several_samples_are_those_of_each_in_order():
    for kind in (Named, Nameless, Noisy):
        keys = keys_of(kind("abcd"))
        assert keys.keys([2, 0, 3]) == [keys.key(i) for i in (2, 0, 3)]
    some = keys_of(
        Nameless("abcd"), type("Some", (Nameless,), {"sample_key": lambda self, i: "no. 1" if i == 1 else None})("abcd")
    )
    assert some.keys([3, 1]) == [hash_of(input_of("d")), "no. 1"]
    assert keys_of(Nameless("abc")).hashes([1, 0]) == [hash_of(input_of("b")), hash_of(input_of("a"))]
    assert keys_of(Nameless("abc")).keys([]) == []


def test_a_task_s_own_keys(recwarn):
    class Own(ClassificationTask):
        def key(self, dataset, index):
            return f"no. {dataset.order[index]}"

    keys = keys_of(Paths("abc"), task=Own())
    keys.warn()
    assert [keys.key(i) for i in range(3)] == ["no. a", "no. b", "no. c"]
    assert len(recwarn) == 0


def test_a_name_of_several_samples_is_told_and_not_taken():
    class Short(Named):
        def sample_key(self, index):
            return self.order[index][0]

    keys = keys_of(Short(["a1", "b1", "a2"]))
    with pytest.warns(
        UserWarning, match=r"1 name\(s\) .*: 'a' of dataset indices 0, 2, for one.*`sample_key\(index\)`"
    ):
        keys.warn()
    assert [keys.key(i) for i in range(3)] == [hash_of(input_of("a1")), "b", hash_of(input_of("a2"))]
    assert keys.places({"a", "b"}) == {"b": 1}


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["/d/a/1", "/d/a/2"], "/d/a/"),
        (["/d/a/1", "/d/a"], "/d/"),
        (["/d/a/1", "/d/ab/1"], "/d/"),
        (["a/1"], "a/"),
        (["a", "ab"], ""),
        (["/a", "b/c"], ""),
        (["x/y/z", "x/y", "x/y/z/w"], "x/"),
    ],
)
def test_common_folder(paths, folder):
    assert common_folder(paths) == common_folder(paths[::-1]) == folder


def test_the_root_is_that_of_paths_alone():
    assert keys_of(Paths(["/d/a/1", "/d/b/2"])).root == "/d/"
    assert keys_of(Named(["/d/a/1", "/d/b/2"])).root == ""
    assert keys_of(Nameless("ab")).root == ""


def test_processes_are_compared_by_what_they_have_at_a_few_indices(monkeypatch):
    def compare(*datasets):
        looks = []
        monkeypatch.setattr(module, "gather_objects", lambda look: [*looks, look])
        for dataset in datasets[:-1]:
            keys_of(dataset).check_same_on_every_rank() if not looks else None
            looks.append([keys_of(dataset)._look(i) for i in module.spread_over(len(dataset))])
        keys_of(datasets[-1]).check_same_on_every_rank()

    rows = [f"{i:02}" for i in range(40)]
    for kind in (Named, Nameless, Noisy):
        compare(kind(rows), kind(rows))
    for kind in (Named, Nameless):
        with pytest.raises(RuntimeError, match=r"other samples at dataset index 0: \{0: '.*', 1: '.*'\}"):
            compare(kind(rows), kind(rows[::-1]))
    compare(Paths([f"/scratch/1/{row}/x" for row in rows]), Paths([f"/data/{row}/x" for row in rows]))
    with pytest.raises(RuntimeError, match="other samples at dataset index 0"):
        compare(Paths([f"/d/{row}/x" for row in rows]), Paths([f"/d/{row}/x" for row in rows[::-1]]))
    compare(Noisy(rows), Nameless(rows))  # one finds out that inputs are random, and the other does not


def test_random_generators_are_as_before():
    state = torch.get_rng_state()
    keys = keys_of(Noisy("abc"))
    keys.warn()
    keys.key(0)
    keys.check_same_on_every_rank()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_large_data_set_is_not_drawn_from_for_one_key():
    dataset = Nameless([str(i) for i in range(1000)])
    keys_of(dataset).key(500)
    assert len(set(dataset.drawn)) <= 17
    keys_of(TensorDataset(torch.zeros(3, 2))).warn()
