"""Committees in whole campaigns, from either source. Picks from given members: ``test_contract.py``."""

import contextlib

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Entropy, QueryByCommittee
from lightning_al.inference.calling import tensors_of
from tests.helpers import reference
from tests.helpers.committee import NORM, SOURCES, Kept, run, same
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks


def brute_force(members, indices, score):
    """One member and one sample at a time."""
    nets = []
    for state in members:
        nets.append(NORM().eval())
        nets[-1].load_state_dict(state)
    with torch.no_grad():
        return [
            reference.committee(score, [net(make_data()[0][i : i + 1])[0].tolist() for net in nets]) for i in indices
        ]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("source", "score"),
    [
        ("fits", "vote_entropy"),
        ("snapshots", "kl"),
        *(pytest.param(*n, marks=pytest.mark.slow) for n in (("fits", "kl"), ("snapshots", "vote_entropy"))),
    ],
)
def test_picks_where_its_members_disagree(tmp_path, source, score):
    acquisition = Kept(4, source=source, score=score)
    loop = run(tmp_path, acquisition)
    assert len(acquisition._voted) == 2
    for result, members, candidates in zip(loop.history, acquisition._voted, acquisition._scored, strict=False):
        scores = brute_force(members, candidates, score)
        best = sorted(range(len(scores)), key=lambda i: (-round(scores[i], 12), i))[:3]
        assert result.picked == [candidates[i] for i in best]
        assert result.scores == pytest.approx([scores[i] for i in best])
        assert not any(same(a, b) for i, a in enumerate(members) for b in members[:i])
        means = {tuple(m["net.1.running_mean"].tolist()) for m in members}
        assert len(means) == 4


@pytest.mark.few(1)
@pytest.mark.parametrize("source", SOURCES)
def test_the_model_is_the_round_s_own_fit(tmp_path, source):
    acquisition = Kept(3, source=source)
    loop = run(tmp_path, acquisition, loop={"rounds": 1, "initial": 57})
    [members] = acquisition._voted
    assert len(loop.pool.unlabelled) == 0
    last = torch.load(next((tmp_path / "c").rglob("weights_*.ckpt")), weights_only=True)  # of the round after
    assert last["state_dict"].keys() == members[0].keys()
    plain = run(tmp_path / "plain", Entropy(), loop={"rounds": 0, "initial": 57})
    own = tensors_of(plain.model)
    assert same(members[0], own) == (source == "fits")


@pytest.mark.few(1)
@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_kept_that_is_not_needed(tmp_path, source):
    class Looks(L.Callback):
        found: list = []

        def on_query_end(self, trainer, pl_module, loop):
            self.found.append(sorted(p.name.rsplit("_", 1)[0] for p in loop.dirpath.glob("round_*/*")))

    looks = Looks()
    acquisition = Kept(3, source=source)
    run(tmp_path, acquisition, looks)
    names = ["member_1", "member_2"] if source == "fits" else [f"snapshot_{i}_of_3" for i in range(3)]
    assert looks.found[-2:] == [[*names, "weights"]] * 2
    assert acquisition._members == [None]  # room for the next fit
    left = [p.name for p in (tmp_path / "c").rglob("*.ckpt")]
    # The last round's snapshots are of its weights, and go when those do.
    assert sum(name.startswith("snapshot") for name in left) == (3 if source == "snapshots" else 0)
    assert sum(name.startswith("member") for name in left) == 0


@pytest.mark.slow
def test_the_user_s_checkpoints_hold_nothing_of_it(tmp_path):
    saved = ModelCheckpoint(tmp_path / "mine", save_last=True)
    for source in SOURCES:
        acquisition = QueryByCommittee(3, source=source)
        run(tmp_path / source, acquisition, saved, enable_checkpointing=True)
        for path in (tmp_path / "mine").rglob("*.ckpt"):
            state = torch.load(path, weights_only=True)
            assert not [key for key in state["callbacks"] if "Committee" in key]
            assert state["state_dict"].keys() == NORM().state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("source", SOURCES)
def test_picks_of_several_processes_are_those_of_one(tmp_path, processes, source):
    """From weights that do not learn, since batches differ by process otherwise."""

    def picked(count):
        strategy, devices = fork(count) if count > 1 else ("auto", 1)
        acquisition = QueryByCommittee(3, source=source, score="kl")
        options = {"loop": {"rounds": 1}, "strategy": strategy, "devices": devices}
        loop = run(tmp_path / str(count), acquisition, model=Frozen(), **options)
        assert loop.status == "finished"
        return picks(loop.history), [r.scores for r in loop.history]

    (one, scores), (many, scores_of_many) = picked(1), picked(processes)
    assert one == many
    assert [s for r in scores for s in r] == pytest.approx([s for r in scores_of_many for s in r], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["fits", pytest.param("snapshots", marks=pytest.mark.slow)])
def test_two_processes_learn_together(tmp_path, source):

    def campaign(name):
        strategy, devices = fork(2)
        options = {
            "loop": {"rounds": 1},
            "max_epochs": 1 if source == "fits" else 4,
            "strategy": strategy,
            "devices": devices,
        }
        return run(tmp_path / name, QueryByCommittee(3, source=source), **options)

    once, again = campaign("once"), campaign("again")
    assert [r.labelled for r in once.history] == [8, 11]
    assert picks(once.history) == picks(again.history)


def test_ask_and_tell(tmp_path):
    from lightning_al import AwaitTell

    loop = ActiveLearningLoop(NORM(), Data(), initial=8, query_size=3, oracle=AwaitTell(), dirpath=tmp_path / "c")
    acquisition = Kept(3)
    trainer = make_trainer(tmp_path, acquisition=acquisition)
    first = loop.ask(trainer)
    loop.tell(first, [i % 3 for i in range(8)])
    second = loop.ask(trainer)
    third = loop.ask(trainer)  # no label came: the same fit, but another question
    assert len({*second, *third}) == 6
    assert len(acquisition._voted) == 2


def test_it_cannot_choose_the_initial_set(tmp_path):
    with pytest.raises(ValueError, match=r"QueryByCommittee.*needs logits of the model"):
        ActiveLearningLoop(Net(), Data(), initial=8, query_size=3, initial_by=QueryByCommittee())


def test_before_anything_is_learnt_the_model_votes_alone(bound):
    acquisition = QueryByCommittee()
    assert bound.scores(acquisition).tolist() == [0.0] * len(bound.batch[0])


def test_weights_that_are_sharded_are_refused():
    with contextlib.ExitStack() as stack:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import distribute_tensor
        from torch.testing._internal.distributed.fake_pg import FakeStore

        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
        stack.callback(torch.distributed.destroy_process_group)
        mesh = init_device_mesh("cpu", (2,))
        model = torch.nn.Linear(4, 4)
        model.weight = torch.nn.Parameter(distribute_tensor(model.weight.detach(), mesh))
        for refused in (tensors_of, lambda model: QueryByCommittee().score_batch(model, None)):
            with pytest.raises(TypeError, match="Weights of Linear are sharded over processes"):
                refused(model)
