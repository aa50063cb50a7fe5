"""Scores of samples that belong to no campaign: those of a plain loop, and those that a campaign's query gives."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

import lightning_al
from lightning_al import ClassificationTask, score
from lightning_al.acquisition import (
    BADGE,
    BALD,
    SAAL,
    VAAL,
    CoreGCN,
    CoreSet,
    Entropy,
    Margin,
    Random,
)
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.processes import fork
from tests.helpers.projects import SIZE, Net, loop_in, make_trainer
from tests.helpers.registry import CASES, ONE_OF_EACH, Case
from tests.helpers.scene import encoder
from tests.helpers.scored import BARE, SAMPLES, X, scored

QUICK = ("Random", "Entropy", "CoreSet")


# -- by definition -----------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_plain_loop_over_single_samples(tmp_path):
    model = Net(batch_norm=True)
    expected = [float(reference.entropy(model.eval()(x.unsqueeze(0)).detach())) for x in X]
    scores = scored(tmp_path, Entropy(), 7, model=model)
    assert scores.index.tolist() == list(range(SIZE))
    assert scores.score.tolist() == pytest.approx(expected, rel=1e-12)
    assert scores.picks == sorted(range(SIZE), key=lambda i: -expected[i])[:7]
    assert list(scores.key) == [ClassificationTask().key(BARE, i) for i in range(SIZE)]


def test_features_far_from_what_is_labelled_by_brute_force(tmp_path):
    model = Net()
    features = model.net[:-1](X).detach()
    labelled, picks = [3, 50, 20], []
    while len(picks) < 5:
        gaps = torch.cdist(features, features[labelled + picks]).amin(1)
        picks.append(int(gaps.argmax()))
    assert scored(tmp_path, CoreSet(), 5, model=model, labelled=labelled).picks == picks
    others = Subset(SAMPLES, labelled)  # the same ones as a dataset of their own, with targets
    rest = [i for i in range(SIZE) if i not in labelled]
    alone = scored(tmp_path, CoreSet(), 5, model=model, dataset=Subset(BARE, rest), labelled=others)
    assert [rest[i] for i in alone.picks] == picks
    assert alone.index.tolist() == list(range(len(rest)))


def test_the_farthest_of_all_where_nothing_is_labelled(tmp_path):
    scores = scored(tmp_path, CoreSet(), 6)
    assert len(set(scores.picks)) == 6
    assert scores.score is None
    assert {row[2] for row in scores.rows()} == {None}


# -- as a campaign -----------------------------------------------------------------------------------------------------


def of(case: Case) -> bool:
    return case in ONE_OF_EACH and case.name in QUICK


@pytest.mark.parametrize(
    "case", [case if of(case) else slow(case) for case in CASES if case.name != "QueryByCommittee"], ids=lambda c: c.id
)
def test_scores_and_picks_are_those_of_a_campaigns_query(tmp_path, case):
    features = encoder()(X).detach()
    np.save(tmp_path / "features.npy", features)
    torch.save(features, tmp_path / "features.pt")
    loop = loop_in(tmp_path, model=case.model(dropout=0.3))
    picks = loop.ask(make_trainer(tmp_path, acquisition=case.make(tmp_path)), keep_scores=True)
    how = {"labelled": loop.pool.labelled, "batch_size": 25}  # the loop's: a batch's size may decide on a last bit
    scores = scored(tmp_path, case.make(tmp_path), model=loop.model, dataset=SAMPLES, **how)
    kept = loop.scores(0)
    assert scores.picks == picks == kept.picks
    assert scores.index.equal(kept.index)
    assert list(scores.key) == list(kept.key)
    assert (scores.score is None) == (kept.score is None)
    if scores.score is not None:
        assert scores.score.equal(kept.score.to(scores.score.dtype))


@pytest.mark.parametrize(
    ("acquisition", "processes"),
    [
        (Entropy, 2),
        slow(Entropy, 3),
        slow(SAAL, 2),
        slow(CoreSet, 2),
        slow(CoreSet, 3),
        slow(BADGE, 3),
        slow(lambda: VAAL(steps=4, width=4), 2),
        slow(lambda: CoreGCN(steps=5), 2),
        slow(Random, 2),
    ],
)
def test_the_same_on_any_number_of_processes(tmp_path, acquisition, processes):
    options = {"labelled": [1, 7, 30], "dataset": SAMPLES, "k": 6}
    one = scored(tmp_path, acquisition(), **options)
    strategy, devices = fork(processes)
    several = scored(
        tmp_path, acquisition(), trainer=make_trainer(tmp_path, strategy=strategy, devices=devices), **options
    )
    assert several.picks == one.picks
    assert several.index.equal(one.index)
    assert (one.score is None) == (several.score is None)
    if one.score is not None:  # a discriminator's batches are others: the last bit
        torch.testing.assert_close(several.score, one.score, rtol=1e-14, atol=0)
    assert list(several.key) == list(one.key)


def test_the_seed_decides_what_is_drawn(tmp_path):
    first, again, other = (scored(tmp_path, Random(), 20, seed=seed).picks for seed in (3, 3, 4))
    assert first == again != other


def test_without_a_number_of_picks_there_are_scores_alone(tmp_path):
    scores = scored(tmp_path, Margin(selection="kmeans++"), None)
    assert scores.picks == []
    assert scores.score.tolist() == pytest.approx(reference.margin(Net()(X).detach()).tolist())
    for acquisition in (CoreSet(), Random(), BADGE()):
        with pytest.raises(ValueError, match=r"gives no scores.*`k=`"):
            scored(tmp_path, acquisition, None)


# -- what is given -----------------------------------------------------------------------------------------------------


class Texts(Dataset):
    """Of different lengths, so that they need a collate function of their own."""

    def __len__(self):
        return 10

    def sample_key(self, index):
        return f"text {index}"

    def __getitem__(self, index):
        return X[index, : 1 + index % 4]


def pad(samples):
    PADDED.append(len(samples))
    return torch.stack([nn.functional.pad(sample, (0, 4 - len(sample))) for sample in samples])


PADDED: list[int] = []


def test_a_loaders_collate_function_and_batch_size_are_kept(tmp_path):
    PADDED.clear()
    loader = DataLoader(Texts(), batch_size=3, collate_fn=pad, shuffle=True, drop_last=True)
    scores = scored(tmp_path, Entropy(), 2, dataset=loader, batch_size=None)
    padded = torch.stack([nn.functional.pad(text, (0, 4 - len(text))) for text in map(Texts().__getitem__, range(10))])
    assert scores.score.tolist() == pytest.approx(reference.entropy(Net()(padded).detach()).tolist())
    assert PADDED[-4:] == [3, 3, 3, 1]
    assert list(scores.key) == [f"text {i}" for i in range(10)]


def test_a_batch_sampler_of_ones_own_says_no_batch_size(tmp_path):
    buckets = DataLoader(BARE, batch_sampler=[[0, 1], [2]])
    with pytest.raises(ValueError, match="Say `batch_size=`"):
        scored(tmp_path, Entropy(), dataset=buckets, batch_size=None)
    assert len(scored(tmp_path, Entropy(), dataset=buckets, batch_size=5)) == SIZE


# -- nothing is left behind -----------------------------------------------------------------------


def test_nothing_is_left_behind(tmp_path):
    model, acquisition, trainer = Net(dropout=0.3), BALD(), make_trainer(tmp_path)
    model.train()
    model.net[3].eval()
    model.net[0].bias.requires_grad_(False)
    model.net[0].weight.grad = torch.ones_like(model.net[0].weight)

    def state():
        return {
            "flags": [m.training for m in model.modules()],
            "grads": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            "requires_grad": [p.requires_grad for p in model.parameters()],
            "weights": [value.tolist() for value in model.state_dict().values()],
            "rng": (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()),
            "instance": sorted({*vars(model)} - {"_hparams"}),  # which Lightning makes in any prediction
            "callbacks": list(map(id, trainer.callbacks)),
        }

    before = state()
    scored(tmp_path, acquisition, model=model, trainer=trainer)
    assert state() == before
    with pytest.raises(RuntimeError, match="bound to no loop"):
        _ = acquisition.task


def test_a_trainer_is_made_where_none_is_given():
    scores = score(Net(), BARE, Entropy(), 2)
    assert scores.score.cpu().tolist() == pytest.approx(reference.entropy(Net()(X).detach()).tolist(), rel=1e-6)


def test_it_is_at_the_top_of_the_package():
    assert lightning_al.score is score
    assert {"score", "Scores"} <= set(lightning_al.__all__)
