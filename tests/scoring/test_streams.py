"""The best of a stream are those of the same samples in a map-style dataset, however it is divided."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate, get_worker_info

from lightning_al import ClassificationTask, SegmentationTask
from lightning_al.acquisition import BADGE, BALD, SAAL, VAAL, CoreSet, Entropy, EntropyGradNorm, Margin, Random
from lightning_al.data.readable import UnreadableSampleError
from lightning_al.data.stream import drawn
from lightning_al.scoring.scores import Scores
from lightning_al.scoring.streams import Best, check_scores_alone
from tests.helpers.marks import slow
from tests.helpers.nodes import on_two_nodes
from tests.helpers.projects import SIZE, Net, make_trainer
from tests.helpers.scored import BARE, Never, X, scored

TASK = ClassificationTask(inputs="x", target="y")


class Rows(IterableDataset):
    """The samples of the small project, each with its key."""

    def __init__(self, rows=range(SIZE), x=X, key="key"):
        self.rows, self.x, self.key = rows, x, key
        self.begun = 0

    def __iter__(self):
        self.begun += 1
        for row in self.rows:
            yield {self.key: f"k{row}", "x": self.x[row]}


class Divided(Rows):
    def __iter__(self):
        info = get_worker_info()
        for row in self.rows[info.id :: info.num_workers]:
            yield {"key": f"k{row}", "x": self.x[row]}


def best(folder, dataset, k=7, acquisition=None, **options):
    return scored(folder, acquisition or Entropy(), k, dataset=dataset, task=TASK, **options)


def in_pool(folder, k=7, acquisition=None, **options):
    """Keys and scores of the same samples with indices."""
    scores = scored(folder, acquisition or Entropy(), k, **options)
    return [f"k{index}" for index in scores.picks], scores.score[torch.tensor(scores.picks)].tolist()


@pytest.mark.parametrize(
    "acquisition", [Entropy, slow(Margin), slow(EntropyGradNorm), slow(lambda: SAAL(selection="top"))]
)
def test_the_best_are_those_of_a_dataset(tmp_path, acquisition):
    keys, values = in_pool(tmp_path, acquisition=acquisition())
    scores = best(tmp_path, Rows(), acquisition=acquisition())
    assert scores.key == keys
    assert scores.score.tolist() == pytest.approx(values, abs=1e-12)
    assert scores.score.dtype == torch.float64
    assert scores.picks == scores.index.tolist() == list(range(7))


@pytest.mark.slow
@pytest.mark.parametrize("stream", [Divided, Rows], ids=["a part for each", "all for each"])
def test_workers_that_share_the_stream_or_do_not(tmp_path, stream):
    scores = best(tmp_path, DataLoader(stream(), batch_size=7, num_workers=2))
    assert scores.key == in_pool(tmp_path)[0]


class OfRank(Rows):
    def __init__(self, rank):
        super().__init__(range(rank, 50 - 20 * rank, 2))


@pytest.mark.slow
def test_processes_with_parts_of_different_length(tmp_path):
    nodes = {"num_nodes": 2, "devices": 1, "strategy": "ddp"}

    def part(rank):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            whole = best(tmp_path, Rows(range(50)), trainer=make_trainer(".", **nodes))
        told = any("All 2 processes were given the same samples" in str(each.message) for each in said)
        some = best(tmp_path, OfRank(rank), trainer=make_trainer(".", **nodes))
        try:
            best(
                tmp_path,
                Rows(x=X.clone().index_fill_(0, torch.tensor([3]), math.nan)),
                trainer=make_trainer(".", **nodes),
            )
        except ValueError as error:
            return told, whole.key, some.key, str(error)

    first, second = on_two_nodes(part, tmp_path)
    assert (first[0], second[0]) == (True, False)  # the first says so
    assert first[1:] == second[1:]
    assert first[1] == best(tmp_path, Rows(range(50))).key
    seen = [*range(0, 50, 2), *range(1, 30, 2)]
    assert first[2] == best(tmp_path, Rows(seen)).key
    assert "of keys 'k3', 'k3'" in first[3]


@pytest.mark.slow
def test_a_forked_launch_hands_the_keys_back(tmp_path):
    from tests.helpers.processes import fork

    strategy, devices = fork(2)
    trainer = make_trainer(tmp_path, strategy=strategy, devices=devices)
    assert best(tmp_path, Rows(), trainer=trainer).key == in_pool(tmp_path)[0]


@pytest.mark.parametrize("precision", ["32", slow("trainer")])
def test_in_the_precision_of_a_campaign(tmp_path, precision):
    """Under a Trainer in half precision too."""

    def half():
        return {"trainer": make_trainer(tmp_path, precision="bf16-mixed"), "pool_precision": precision}

    options = {"model": Net().float(), "batch_size": 60}
    x = 20 * X.float()
    indexed = scored(tmp_path, Entropy(), 7, dataset=TensorDataset(x), **options, **half())
    scores = best(tmp_path, Rows(x=x), **options, **half())
    picked = indexed.score[torch.tensor(indexed.picks)]
    assert torch.allclose(scores.score, picked, rtol=0, atol=1e-6)
    full = scored(tmp_path, Entropy(), 7, dataset=TensorDataset(x), **options)
    exact = full.score[torch.tensor(full.picks)]
    assert bool(torch.allclose(scores.score, exact, rtol=0, atol=1e-6)) == (precision == "32")


def test_the_file_has_the_best_alone(tmp_path):
    scores = best(tmp_path, Rows(), 3)
    scores.to_csv(tmp_path / "best.csv")
    read = Scores.read_csv(tmp_path / "best.csv")
    assert (read.key, read.picks) == (scores.key, [0, 1, 2])
    assert len((tmp_path / "best.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("stream", "key"),
    [(lambda: Rows(key="__key__"), "k48"), (lambda: Rows(key="id"), "k48"), (lambda: Named(), "row 48")],
)
@pytest.mark.few(1)
def test_where_keys_come_from(tmp_path, stream, key):
    assert best(tmp_path, stream(), 1).key == [key]


class Named(IterableDataset):
    def __iter__(self):
        yield from ({"x": x, "row": row} for row, x in enumerate(X))

    def sample_key(self, sample):
        return f"row {sample['row']}"


class Tuples(IterableDataset):
    def __iter__(self):
        return zip(X, range(SIZE), strict=True)


def in_order_of_size(samples):
    return default_collate(sorted(samples, key=lambda sample: float(sample["x"][0])))


class Breaks(Rows):
    def __iter__(self):
        yield from list(super().__iter__())[:9]
        raise OSError("connection lost")


REFUSED = {
    "no keys": (
        {"dataset": Tuples(), "task": None},
        ValueError,
        "must carry a key, and this one carries none: a tuple",
    ),
    "how many": ({"k": None}, ValueError, "say how many, `k=`"),
    "unreadable": ({"skip_unreadable": True}, ValueError, "a stream comes once"),
    "labelled": ({"labelled": [1]}, ValueError, "Leave it out, and what is labelled out of the stream"),
    "batches": (
        {"dataset": DataLoader(Rows(), batch_size=None), "batch_size": None},
        ValueError,
        "Let the stream give samples",
    ),
    "a pool": ({"acquisition": CoreSet()}, ValueError, "`CoreSet` picks samples that go together"),
    "empty": ({"dataset": Rows([])}, ValueError, "The stream has no sample"),
    "broken": (
        {"dataset": Breaks()},
        UnreadableSampleError,
        "broke after 9 samples, the last 'k8': OSError: connection",
    ),
    "order": (
        {"dataset": DataLoader(Rows(), batch_size=8, collate_fn=in_order_of_size)},
        ValueError,
        "The loader's collate",
    ),
}


@pytest.mark.parametrize("name", [name if name in ("no keys", "a pool", "broken") else slow(name) for name in REFUSED])
def test_what_is_refused(tmp_path, name):
    options, kind, text = REFUSED[name]
    model = Net()
    before = [w.detach().clone() for w in model.parameters()]
    trainer = make_trainer(tmp_path)
    given = {"dataset": Rows(), "task": TASK, "acquisition": Entropy(), "k": 5, **options}
    with pytest.raises(kind, match=text):
        scored(tmp_path, given.pop("acquisition"), given.pop("k"), model=model, trainer=trainer, **given)
    assert all(map(torch.equal, before, model.parameters()))
    assert "predict_step" not in vars(model)
    assert list(Path(tmp_path).glob("*")) == []


@pytest.mark.parametrize(
    ("acquisition", "why"),
    [
        (Random(), "picks samples that go together, or by no score"),
        (BADGE(), "picks samples that go together"),
        (Entropy(selection="kmeans++"), 'spreads its picks over all samples .`selection="kmeans'),
        (SAAL(group_size=4, selection="top"), "scores groups of samples"),
        (VAAL(), "looks at labelled samples"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_acquisitions_that_need_all_samples_at_once(acquisition, why):
    with pytest.raises(ValueError, match=why):
        check_scores_alone(acquisition, ClassificationTask())


def test_acquisitions_that_score_each_sample_by_itself():
    for acquisition in (Entropy(), Margin(), BALD(), EntropyGradNorm(), SAAL(selection="top"), Never()):
        check_scores_alone(acquisition, SegmentationTask(3))


class Learns(Entropy):
    def learn(self, query):
        query.score(self, query.candidates)


def test_an_acquisition_that_learns_from_samples(tmp_path):
    with pytest.raises(ValueError, match="`Learns` learns from samples before it scores"):
        best(tmp_path, Rows(), acquisition=Learns())


def test_scores_that_are_not_finite_end_it_with_the_keys(tmp_path):
    x = X.clone()
    x[[5, 6]] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite scores for 2 samples, of keys 'k5', 'k6'"):
        best(tmp_path, Rows(x=x))


def test_repeated_keys_count_once(tmp_path):
    again = best(tmp_path, Rows([*range(SIZE), *range(0, SIZE, 3)]))
    assert again.key == in_pool(tmp_path)[0]


def test_a_key_that_several_samples_have_is_told(tmp_path):
    class Same(Rows):
        def __iter__(self):
            yield from ({"key": "the same" if row < 9 else f"k{row}", "x": X[row]} for row in self.rows)

    with pytest.warns(UserWarning, match="8 of 8 repeated keys came with another score"):
        best(tmp_path, Same(), 60)


def test_fewer_samples_than_are_asked_for(tmp_path):
    with pytest.warns(UserWarning, match="`k=9` is more than the 5 samples"):
        assert len(best(tmp_path, Rows(range(5)), 9)) == 5


def test_a_stream_is_gone_through_once(tmp_path):
    stream = Rows()
    best(tmp_path, stream)
    assert stream.begun == 1


# -- the best of what comes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_any_order_and_division(seed):
    """Against a sort of all, with ties and repetitions."""
    draws = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 12, (200,), generator=draws).double()
    keys = [f"s{i}" for i in range(200)]
    wanted = sorted(range(200), key=lambda i: (-scores[i], drawn(seed, keys[i])))[:17]
    parts = []
    for _ in range(3):
        part = Best(17, seed)
        for rows in torch.randperm(200, generator=draws).split(31):
            part.add([keys[i] for i in rows.tolist()], scores[rows])
            assert len(part) <= 2 * 17
        assert part.seen == 200
        parts.append(part)
    merged = Best(17, seed)
    merged.merge(parts)
    expected = [(keys[i], float(scores[i])) for i in wanted]
    assert merged.ranked() == parts[0].ranked() == expected
    assert merged.differ == 0


def test_negative_and_equal_scores():
    best = Best(2, seed=0)
    for start in range(0, 30, 3):
        best.add([str(i) for i in range(start, start + 3)], torch.full((3,), -1.5))
    firsts = sorted(map(str, range(30)), key=lambda key: drawn(0, key))[:2]
    assert best.ranked() == [(key, -1.5) for key in firsts]


def test_a_bare_dataset_is_no_stream(tmp_path):
    assert len(scored(tmp_path, Entropy(), 3, dataset=BARE)) == SIZE
