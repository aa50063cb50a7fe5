"""Loss prediction in whole fits: equal to the loop written by hand, whatever the fit is told."""

import copy
import pickle
import warnings

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.nn import functional as F

from lightning_al.fitting.beside_weights import BesideWeights
from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from tests.helpers.loss_reference import (
    EPOCHS,
    FORMS,
    SAM_FORMS,
    WIDTH,
    Front,
    Own,
    Plain,
    fitted,
    loader,
    made,
    network,
    sgd,
    trained,
    trainer,
)
from tests.helpers.sam_reference import by_norm, distance


@pytest.mark.few(2)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_loop_written_by_hand(form):
    model, _ = trained(form)
    assert model.loss_prediction.layers == ["net.1"]  # found: the last output of the last width but the logits'
    without = network()
    assert distance(model.net, hand_without(without)) > 1e-3


def hand_without(net):
    optimizer = sgd(net.parameters())
    for _ in range(EPOCHS):
        for x, y in loader():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "form", SAM_FORMS, ids=lambda f: f"{f.__name__}-{'auto' if issubclass(f, AutoSAMMixin) else 'manual'}"
)
def test_under_sam_both_passes_have_both_losses(form):
    trained(form, rho=0.3, by_hand={"rho": 0.3})


def test_batches_of_one_and_odd_ones():
    model = made(Front(loss_width=WIDTH))
    before = copy.deepcopy(model.loss_prediction)
    fitted(model, loader(count=1), max_epochs=1)
    assert distance(model.loss_prediction, before) == 0
    fitted(model, loader(count=5, batch_size=5), max_epochs=1)
    assert distance(model.loss_prediction, before) > 0


def test_outside_of_training_the_step_is_the_users():
    class Net(Front):
        def validation_step(self, batch, batch_idx):
            self.seen = (self.training_step(batch, batch_idx), F.cross_entropy(self(batch[0]), batch[1]))

    model = Net()
    fit = trainer(max_epochs=1)
    fit.fit(model, loader(), loader())
    assert torch.equal(*model.seen)
    fit.validate(model, loader(), verbose=False)
    assert torch.equal(*model.seen)


def test_clipping_and_accumulation_are_the_trainers():
    trained(Front, fit={"gradient_clip_val": 0.2}, by_hand={"clip": by_norm(0.2)})
    model = made(Front(loss_width=WIDTH))
    fit = fitted(model, accumulate_grad_batches=2)
    assert fit.global_step == EPOCHS * 3


def test_under_sam_its_own_clipping():
    class Net(SAMMixin, Front):
        pass

    trained(Net, rho=0.3, gradient_clip_val=0.2, by_hand={"rho": 0.3, "clip": by_norm(0.2)})


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision):
    class Single(Front):
        def __init__(self):
            super().__init__(net=network(torch.float32), loss_width=WIDTH)

    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float64 if precision == "64-true" else torch.float32
    model = Single()
    fitted(model, loader(dtype=dtype), precision=precision, max_epochs=2)
    assert model.loss_prediction.head.weight.dtype == (torch.float32 if precision == "bf16-mixed" else dtype)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert model.predict_losses(torch.zeros(3, 5, dtype=dtype)).dtype == (
        dtype if precision == "64-true" else torch.float32
    )


def test_a_loss_scale():
    class Single(Front):
        def __init__(self):
            super().__init__(net=network(torch.float32), loss_width=WIDTH)

    def half(start):
        torch.manual_seed(2)
        scaler = torch.amp.GradScaler("cpu", init_scale=start)
        model = Single()
        fitted(model, loader(dtype=torch.float32), plugins=[MixedPrecision("16-mixed", "cpu", scaler)], max_epochs=2)
        return model

    torch.manual_seed(2)
    plain = Single()
    fitted(plain, loader(dtype=torch.float32), max_epochs=2)
    model = half(2.0**10)
    assert distance(model, plain) < 0.05
    assert all(bool(p.isfinite().all()) for p in half(2.0**40).parameters())


def test_checkpoints_resume_exactly_and_load_anywhere(tmp_path):
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    options = {"enable_checkpointing": True, "callbacks": [keep]}
    model = made(Front(loss_width=WIDTH))
    start = copy.deepcopy(model)
    fitted(model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = Front(loss_width=WIDTH)
        trainer(max_epochs=EPOCHS).fit(resumed, loader(), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert distance(resumed, model) == 0
    assert distance(start, model) > 0
    loaded = Front.load_from_checkpoint(tmp_path / "epoch=4.ckpt")
    assert loaded.loss_prediction.layers == ["net.1"]
    assert loaded.loss_prediction.head.in_features == WIDTH
    x = torch.randn(3, 5).double()
    assert torch.equal(loaded.predict_losses(x), model.predict_losses(x))
    trainer().test(
        type("Tested", (Front,), {"test_step": lambda self, b, i: None})(),
        loader(),
        ckpt_path=tmp_path / "epoch=4.ckpt",
        verbose=False,
    )


def test_copies_and_pickles():
    model = made(Front(loss_width=WIDTH, loss_weight=0.5))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._loss_prediction.options.loss_weight == 0.5
        assert distance(other, model) == 0
    fitted(model, max_epochs=1)
    assert not {"configure_optimizers", "training_step"} & set(vars(model))
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    pickle.dumps(model.state_dict())


def test_unknown_number_of_epochs():
    with pytest.raises(MisconfigurationException, match=r"max_epochs=-1.*loss_detach_after=1.0"):
        fitted(Front(), max_epochs=-1, max_steps=2)
    fitted(Front(loss_detach_after=1.0), max_epochs=-1, max_steps=2)  # what it suggests works


def test_modules_that_drive_their_optimizer():
    class Drives(Plain):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    class Net(LossPredictionMixin, Drives):
        pass

    with pytest.raises(MisconfigurationException, match=r"automatic_optimization = False.*SAMMixin"):
        fitted(Net())


def test_a_training_step_put_past_the_mixin():
    model = Front()
    model.training_step = lambda batch, batch_idx: None
    with pytest.raises(MisconfigurationException, match="`training_step` was replaced"):
        fitted(model)


def test_sharding_strategies_need_a_module_of_ones_own(monkeypatch):
    from lightning.pytorch.strategies import FSDPStrategy
    from lightning.pytorch.trainer.states import TrainerFn

    fit, model = trainer(), Own()
    fit.state.fn = TrainerFn.FITTING
    model.trainer = fit
    monkeypatch.setattr(type(fit), "strategy", FSDPStrategy())
    with pytest.raises(MisconfigurationException, match=r"FSDPStrategy shards.*nn.LossPrediction"):
        model.configure_model()


def test_a_fit_changes_no_object_that_a_loop_would_name():
    model = Front(loss_width=4)
    before = BesideWeights(model)
    fitted(model, max_epochs=1)
    assert model.loss_prediction is not None
    assert before.changed_objects() == []
