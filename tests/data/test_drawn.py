"""Samplers over the labelled part, beside torch's own drawn by hand."""

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from lightning_al.data.drawn import BatchLoader, DrawnSampler, Redrawn
from lightning_al.data.views import LabelledView
from lightning_al.distributed.randomness import derive_seed
from tests.helpers.processes import fork

LABELLED = torch.tensor([7, 2, 11, 5, 8])
VIEW = LabelledView(range(12), LABELLED, {}, task=None)


def weighted(labelled):
    return Redrawn(WeightedRandomSampler(range(12), 24), 12)(labelled)


def buckets(labelled):
    return BatchSampler(RandomSampler(labelled), 2, drop_last=False)


def drawn(draw, *, replicas=1, rank=0, seed=3, view=VIEW):
    return DrawnSampler(view, draw, num_replicas=replicas, rank=rank, seed=seed)


def epochs(sampler, which):
    result = []
    for epoch in which:
        sampler.set_epoch(epoch)
        result.append(list(sampler))
    return result


@pytest.mark.parametrize("replacement", [True, False])
def test_weights_stay_with_their_samples_as_torch_draws_them(replacement):
    weights = [0.0 if i == 11 else float(i) for i in range(12)]
    own = WeightedRandomSampler(weights, 24 if replacement else 12, replacement, generator=torch.Generator())
    sampler = drawn(Redrawn(own, 12))
    of_labelled = [weights[i] for i in LABELLED.tolist()]
    for epoch, order in enumerate(epochs(sampler, range(3))):
        generator = torch.Generator().manual_seed(derive_seed(3, "draws", epoch))
        number = 10 if replacement else 4  # one of the five has weight 0
        assert order == list(WeightedRandomSampler(of_labelled, number, replacement, generator))
        assert len(sampler) == number
        assert 2 not in order


@pytest.mark.parametrize(("options", "count"), [((True, 24), 10), ((False, 6), 2), ((False, 30), 12), ((True, 1), 1)])
def test_a_random_sampler_draws_as_large_a_part(options, count):
    sampler = drawn(Redrawn(RandomSampler(range(12), *options), 12))
    [one, other, again] = epochs(sampler, (0, 1, 0))
    assert len(one) == len(sampler) == count
    assert one == again
    assert count < 3 or one != other


@pytest.mark.parametrize("draw", [weighted, buckets])
@pytest.mark.parametrize("replicas", [2, 3])
def test_processes_deal_out_what_one_draws(draw, replicas):
    whole = epochs(drawn(draw), range(3))
    parts = [epochs(drawn(draw, replicas=replicas, rank=rank), range(3)) for rank in range(replicas)]
    for epoch, items in enumerate(whole):
        dealt = [item for step in zip(*(part[epoch] for part in parts), strict=True) for item in step]
        assert dealt[: len(items)] == items
        assert dealt[len(items) :] == items[: len(dealt) - len(items)]
        assert len(dealt) - len(items) < replicas


class Stateful:
    """Draws from generators of its own, and is told of epochs."""

    def __init__(self, labelled):
        self.size = len(labelled)
        self.torch, self.numpy, self.epochs = torch.Generator().manual_seed(1), np.random.default_rng(2), []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __len__(self):
        return self.size

    def __iter__(self):
        order = torch.randperm(self.size, generator=self.torch).numpy()
        yield from self.numpy.permutation(order)


def test_an_own_generator_is_where_it_was_in_whatever_order_epochs_are_asked_for():
    by_hand = Stateful(VIEW)
    expected = [[int(i) for i in by_hand] for _ in range(4)]
    assert len({tuple(order) for order in expected}) > 1
    assert epochs(drawn(Stateful), (3, 0, 0, 2, 1)) == [expected[i] for i in (3, 0, 0, 2, 1)]
    made = []
    sampler = drawn(lambda labelled: made.append(Stateful(labelled)) or made[-1])
    epochs(sampler, (0, 0, 1, 2))
    assert len(made) == 1
    assert made[0].epochs == [0, 1, 2]


def test_global_generators_are_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    epochs(drawn(weighted), (0, 1))
    assert torch.equal(torch.get_rng_state(), before)


class Says:
    """Says one length, and draws another number."""

    def __init__(self, length, items):
        self.length, self.items = length, items

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.items)


def test_an_epoch_has_as_many_as_the_length_says():
    assert list(drawn(lambda _: Says(2, [4, 3, 2]))) == [4, 3]
    assert list(drawn(lambda _: Says(3, [torch.tensor([4, 3]), np.array([1])]))) == [[4, 3], [1], [4, 3]]


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (None, TypeError, "must return a sampler .* got None"),
        (iter([1]), TypeError, "`__iter__` and `__len__`"),
        ("01234", TypeError, "got '01234' .str."),
        (Says(2, [0, 5]), ValueError, "drew position 5, and 5 samples are labelled. Draw from `labelled`"),
        (Says(2, [[0], [-1]]), ValueError, "drew position -1"),
        (Says(2, [0, None]), TypeError, "drew None .NoneType.: it must draw positions"),
        (Says(0, []), ValueError, "drew nothing of 5 labelled samples"),
        (Says(1, [[]]), ValueError, "drew an empty batch"),
        (DistributedSampler(range(5), 2, 1), ValueError, "for 2 processes.*dealt out among the processes"),
        (BatchSampler(DistributedSampler(range(5), 2, 1), 2, False), ValueError, "for 2 processes"),
    ],
)
def test_what_cannot_be_drawn_from(made, error, words):
    with pytest.raises(error, match=words):
        drawn(lambda _: made)


def test_labels_without_weight():
    with pytest.raises(ValueError, match="All 5 labelled samples have weight 0"):
        drawn(Redrawn(WeightedRandomSampler([0.0] * 12, 4), 12))


def test_a_sampler_that_draws_otherwise_on_each_process():
    drawn(Stateful).check_draws_again()
    drawn(weighted).check_draws_again()
    sampler = drawn(lambda _: Says(40, np.random.default_rng().integers(0, 5, 40)))
    with pytest.raises(ValueError, match=r"draws otherwise when it is made again.*or seed its own"):
        sampler.check_draws_again()


class Seen(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.tolist())
        return self.net(torch.ones(1)).sum()

    def on_train_end(self):
        gathered = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(gathered, self.seen)
        if self.trainer.is_global_zero:
            torch.save(gathered, f"{self.trainer.default_root_dir}/seen.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_on_two_processes_leaves_the_batches_alone(tmp_path):
    class Data(L.LightningDataModule):
        def train_dataloader(self):
            ranks = {"num_replicas": 2, "rank": self.trainer.global_rank}
            sampler = DrawnSampler(VIEW, buckets, **ranks, seed=3)
            return BatchLoader(VIEW, batch_sampler=sampler)

    strategy, devices = fork(2)
    trainer = L.Trainer(
        default_root_dir=tmp_path, max_epochs=2, strategy=strategy, devices=devices, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Seen(), Data())
    seen = torch.load(tmp_path / "seen.pt")
    for rank in (0, 1):
        batches = [b for order in epochs(drawn(buckets, replicas=2, rank=rank), range(2)) for b in order]
        assert seen[rank] == [LABELLED[batch].tolist() for batch in batches]


def test_batches_of_a_loader_are_those_drawn():
    def pairs(labelled):
        return BatchSampler(SequentialSampler(labelled), 2, drop_last=True)

    loader = BatchLoader(VIEW, batch_sampler=drawn(pairs))
    assert isinstance(loader, DataLoader)
    assert [batch.tolist() for batch in loader] == [[7, 2], [11, 5]]
    assert len(loader) == 2
