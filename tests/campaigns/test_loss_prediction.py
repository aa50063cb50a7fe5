"""Campaigns of models that learn to predict their loss."""

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import EntropyGradNorm, LearningLoss, LPLGrad, Random
from lightning_al.training import LossPredictionMixin, SAMMixin
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks


class Learner(LossPredictionMixin, Net):
    loss_width = 6


class Sharp(SAMMixin, LossPredictionMixin, Net):
    loss_width = 6


def run(tmp_path, model, acquisition, name="c", *, resume=False, trainer=None, **options):
    options = {"initial": 8, "query_size": 4, "rounds": 2, "dirpath": tmp_path / name, **options}
    loop = ActiveLearningLoop(model, Data(), **options)
    return loop, loop.run(make_trainer(tmp_path, acquisition=acquisition, **(trainer or {})), resume=resume)


@pytest.mark.few(1)
@pytest.mark.parametrize("form", [Learner, Sharp])
@pytest.mark.parametrize("acquisition", [LearningLoss, LPLGrad, Random])
def test_two_rounds(tmp_path, form, acquisition):
    model = form()
    loop, history = run(tmp_path, model, acquisition())
    assert [len(r.picked) for r in history] == [4, 4, 0]
    initial = torch.load(loop.dirpath / "initial.ckpt", weights_only=True)["state_dict"]
    assert set(initial) == set(model.state_dict())
    assert any(key.startswith("loss_prediction.") for key in initial)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    # The same again, from another state of the global generators.
    torch.manual_seed(99)
    torch.rand(5)
    assert picks(run(tmp_path, form(), acquisition(), "again")[1]) == picks(history)


def test_each_picks_by_its_score(tmp_path):
    """In the last round by the weights that the campaign ends with."""
    for acquisition in (LearningLoss(), LPLGrad()):
        model = Learner()
        loop, history = run(tmp_path, model, acquisition, type(acquisition).__name__, rounds=1)
        weights = torch.load(next(loop.dirpath.glob("round_1/weights_*.ckpt")), weights_only=True)["state_dict"]
        assert set(weights) == set(model.state_dict())
        x = make_data()[0]
        trained = Learner()
        trained.load_state_dict(weights)
        assert trained.predict_losses(x).shape == (60,)
        assert len(history[0].scores) == 4
        assert history[0].scores == sorted(history[0].scores, reverse=True)


@pytest.mark.few(1)
@pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
def test_resets(tmp_path, reset):
    class Watched(Learner):
        def on_train_start(self):
            assert all(m.training for m in self.modules())  # though made in a predict pass
            self.starts = [*getattr(self, "starts", []), self.loss_prediction.head.weight.detach().clone()]
            group = self.trainer.optimizers[0].param_groups[-1]
            self.momentum = bool(self.trainer.optimizers[0].state.get(group["params"][0]))

    model = Watched()
    run(tmp_path, model, LearningLoss(), reset=reset, rounds=1)
    first, second = model.starts
    assert torch.equal(first, second) == (reset == "initial")
    assert model.momentum == (reset == "continue")


def test_a_killed_campaign_goes_on(tmp_path):
    whole = run(tmp_path, Learner(), LearningLoss(), "whole")[1]

    class Killed(Learner):
        def on_train_epoch_end(self):
            if len(self.trainer.train_dataloader.dataset) == 12 and self.trainer.current_epoch == 1:
                raise KeyboardInterrupt("killed")

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path, Killed(), LearningLoss(), "killed")
    history = run(tmp_path, Learner(), LearningLoss(), "killed", resume=True)[1]
    assert picks(history) == picks(whole)
    assert [r.metrics for r in history] == [r.metrics for r in whole]


def test_before_anything_is_labelled(tmp_path):
    """The module is made from inputs alone: there may be no labels yet."""
    loop = ActiveLearningLoop(
        Learner(), Data(), initial=6, query_size=4, rounds=2, oracle=AwaitTell(), dirpath=tmp_path / "c"
    )
    asked = loop.ask(make_trainer(tmp_path, acquisition=LPLGrad()))
    loop.tell(asked, make_data()[1][asked].tolist())
    assert len(loop.ask(make_trainer(tmp_path, acquisition=LPLGrad()))) == 4


@pytest.mark.parametrize("acquisition", [LearningLoss(), LPLGrad()])
def test_a_model_without_it_is_refused_before_anything_is_written(tmp_path, acquisition):
    with pytest.raises(TypeError, match=r"class Net\(LossPredictionMixin, Net\)"):
        run(tmp_path, Net(), acquisition)
    assert not Campaign.exists(tmp_path / "c")


@pytest.mark.slow
def test_lplgrad_picks_what_the_entropy_norm_would(tmp_path):
    ours = run(tmp_path, Learner(), LPLGrad(), "a")[1]
    plain = run(tmp_path, Learner(), EntropyGradNorm(norm="tensor_sum"), "b")[1]
    assert picks(ours) == picks(plain)


def test_wrong_layers_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"no layer 'net\.9'"):
        run(tmp_path, Learner(loss_layers=["net.9"]), LearningLoss())
    assert not Campaign.exists(tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, "3"])  # that of `seed_everything`, which the command line always calls
def test_two_processes(tmp_path, monkeypatch, seed):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if seed is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
    strategy = DDPStrategy(start_method="fork", process_group_backend="gloo")
    model = Learner()
    loop, history = run(tmp_path, model, LearningLoss(), trainer={"devices": 2, "strategy": strategy})
    assert [len(r.picked) for r in history] == [4, 4, 0]
    initial = torch.load(loop.dirpath / "initial.ckpt", weights_only=True)["state_dict"]
    alone = run(tmp_path, Learner(), LearningLoss(), "alone")[0]
    other = torch.load(alone.dirpath / "initial.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(initial[key], other[key]) for key in initial)  # also those made from data
    assert model.loss_prediction.layers == ["net.3"]  # copied back
