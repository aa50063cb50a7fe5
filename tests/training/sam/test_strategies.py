import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn

from tests.helpers.sam_reference import (
    AutoFront,
    ManualFront,
    trainer,
)


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize(
    ("strategy", "ascent", "message"),
    [
        (FSDPStrategy(), "global", "FSDPStrategy.*ModelParallelStrategy"),
        (ModelParallelStrategy(), "per_rank", 'per_rank.*"global"'),
        (ModelParallelStrategy(), "global", None),
        (DDPStrategy(), "per_rank", None),
    ],
)
def test_strategies(form, strategy, ascent, message, monkeypatch):
    """The strategies need GPUs or processes to run, so this asks the hook that a fit calls first."""
    fit = trainer()
    fit.state.fn = TrainerFn.FITTING
    model = form(ascent=ascent)
    model.trainer = fit
    monkeypatch.setattr(type(fit), "strategy", strategy)
    if message is None:
        assert model.configure_callbacks() == []
    else:
        with pytest.raises(MisconfigurationException, match=message):
            model.configure_callbacks()


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize("variant", ["esam", "gsam", "looksam", "saf", "mesa"])
def test_weights_in_pieces_are_refused_where_a_part_of_a_step_is_run_twice(form, variant, monkeypatch):
    fit = trainer()
    fit.state.fn = TrainerFn.FITTING
    model = form(variant=variant)
    model.trainer = fit
    monkeypatch.setattr(type(fit), "strategy", ModelParallelStrategy())
    if variant in ("esam", "mesa"):
        with pytest.raises(MisconfigurationException, match=f'variant="{variant}".*ModelParallelStrategy.*DDPStrategy'):
            model.configure_callbacks()
    else:
        assert model.configure_callbacks() == []
