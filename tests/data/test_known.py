"""Which samples of a pool are in the training set beside it, by their content and never by their name alone."""

import pytest
import torch

from lightning_al import ClassificationTask
from lightning_al.data import known
from lightning_al.data.keys import SampleKeys
from lightning_al.data.known import KnownSamples
from tests.helpers.moving import Named, Nameless, Noisy, NoisyNamed, Paths


def of(training, pool):
    task = ClassificationTask()
    return KnownSamples(SampleKeys(training, training, task), SampleKeys(pool, pool, task))


class Inputs(Named):
    """Keys that say nothing of the inputs."""

    def __init__(self, samples, keys):
        super().__init__(samples)
        self.names = keys

    def sample_key(self, index):
        return self.names[index]


@pytest.mark.parametrize(
    ("training", "pool", "found"),
    [
        (Nameless(["a", "b", "c"]), Nameless(["d", "b", "a", "e"]), [1, 2]),  # by the hash of the input
        (Nameless(["a", "b"]), Nameless([]), []),
        (Named(["a", "b"]), Named(["c", "b"]), [1]),
        (Paths(["cat/a.jpg", "dog/b.jpg"]), Paths(["new/c.jpg", "new/b.jpg"]), []),  # other inputs under one file name
        (Inputs(["x", "y"], ["0", "1"]), Inputs(["z", "y"], ["0", "1"]), [1]),  # numbers of rows, in both sets
        (Named(["a", "b"]), Nameless(["b"]), [0]),
        (Nameless(["a", "b"]), Named(["b"]), []),  # would need a look at all, where there are names
        (Noisy(["a", "b"]), Nameless(["a", "b"]), []),  # random: nothing to compare
        (Nameless(["a", "b"]), Noisy(["a", "b"]), []),
        (NoisyNamed(["a", "b"]), Named(["c", "b"]), [1]),  # a key that somebody gave is believed
    ],
)
def test_what_is_in_both(training, pool, found):
    assert of(training, pool).in_pool == found


def test_a_file_name_is_not_believed_where_inputs_are_random():
    class NoisyPaths(Paths, Noisy):
        pass

    assert of(NoisyPaths(["cat/a.jpg"]), Paths(["new/a.jpg"])).in_pool == []


def test_many_samples_without_names_are_not_all_drawn(monkeypatch, caplog):
    monkeypatch.setattr(known, "MOST_HASHED", 5)
    pool = Nameless(["a", "b", "c"])
    with caplog.at_level("INFO"):
        assert of(Nameless(["a", "b", "c"]), pool).in_pool == []
    assert "Which of the 3 unlabelled samples are among the 3 of the training set is not looked for" in caplog.text
    assert of(Nameless(["a", "b"]), pool).in_pool == [0, 1]


def test_names_of_other_samples_cost_no_draw():
    training, pool = Named([f"t{i}" for i in range(50)]), Named([f"p{i}" for i in range(50)])
    assert of(training, pool).in_pool == []
    assert of(training, pool).digest
    assert training.drawn == pool.drawn == []


@pytest.mark.parametrize("kind", [Named, Nameless, Paths])
def test_the_digest_is_that_of_the_samples_in_their_order(kind):
    digest = of(kind(["a", "b"]), Named([])).digest
    assert of(kind(["a", "b"]), Named(["c"])).digest == digest
    assert len({digest, *(of(kind(s), Named([])).digest for s in (["b", "a"], ["a"], ["a", "c"]))}) == 4


def test_what_was_in_the_pool_and_is_here_now():
    task = ClassificationTask()
    key = task.input_key(Nameless(["b"]), 0)
    assert of(Nameless(["a", "b"]), Named([])).found_among([key, None, "b"]) == [True, False, False]
    files = of(Paths(["cat/a.jpg", "dog/b.jpg"]), Named([]))
    assert files.found_among(["unlabelled/b.jpg", "c.jpg", "jpg"]) == [True, False, False]
    assert of(Named(["x/b"]), Named([])).found_among(["x/b", "y/b", "b"]) == [True, False, False]


def test_files_are_compared_by_their_bytes(tmp_path):
    """Whatever is made of them: training samples may be transformed otherwise."""

    class Bytes(Paths):
        def __init__(self, folder, scale):
            super().__init__(sorted(map(str, (tmp_path / folder).glob("*"))))
            self.scale = scale

        def __getitem__(self, index):
            return torch.randn(2) * self.scale, 0

    for folder, files in {"one": {"a": "xy", "b": "xy", "c": "x"}, "two": {"a": "xy", "b": "xz", "c": "xy"}}.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / f"{name}.jpg").write_text(text)
    assert of(Bytes("one", 1), Bytes("two", 5)).in_pool == [0]
