"""Campaigns of models that are trained with SAM's family."""

import pytest
import torch

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Random
from lightning_al.training import LossPredictionMixin, SAMMixin
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, make_trainer, picks

OPTIONS = {
    "esam": {},
    "gsam": {},
    "looksam": {"every": 3},
    "saf": {"start_epoch": 0, "lag": 1},
    "mesa": {"start_epoch": 0, "decay": 0.9},
}


class Sharp(SAMMixin, Net):
    pass


class Learner(SAMMixin, LossPredictionMixin, Net):
    loss_width = 6


def run(tmp_path, model, *, resume=False, **options):
    options = {"initial": 8, "query_size": 4, "rounds": 2, "dirpath": tmp_path, "reset": "continue", **options}
    loop = ActiveLearningLoop(model, Data(), **options)
    history = loop.run(make_trainer(tmp_path, acquisition=Random(), max_epochs=3), resume=resume)
    return model, history


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters()])


@pytest.mark.parametrize("variant", ["saf", *(slow(name) for name in OPTIONS if name != "saf")])
def test_rounds_are_trained_and_a_campaign_goes_on_after_a_pause(tmp_path, variant):
    options = {"variant": variant, **OPTIONS[variant]}
    model, history = run(tmp_path / "whole", Sharp(**options))
    assert [len(r.picked) for r in history] == [4, 4, 0]
    plain, _ = run(tmp_path / "plain", Net())
    assert (weights(model) - weights(plain)).abs().max() > 1e-6  # samples of earlier epochs were found again
    run(tmp_path / "parts", Sharp(**options), rounds=1)
    resumed, again = run(tmp_path / "parts", Sharp(**options), resume=True)
    assert picks(again) == picks(history)
    torch.testing.assert_close(weights(resumed), weights(model), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("variant", OPTIONS)
def test_beside_the_loss_that_predicts_losses(tmp_path, variant):
    _, history = run(tmp_path, Learner(variant=variant, **OPTIONS[variant]))
    assert [len(r.picked) for r in history] == [4, 4, 0]
