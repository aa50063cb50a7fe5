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
