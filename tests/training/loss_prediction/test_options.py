"""The options of loss prediction: they reach the training, or are refused."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch.nn import functional as F

from lightning_al.training import LossPredictionMixin, SAMMixin
from tests.helpers.loss_reference import (
    WIDTH,
    Front,
    Plain,
    compare,
    copies,
    fitted,
    hand,
    loader,
    made,
    pair_loss,
    sgd,
    trained,
)
from tests.helpers.marks import slow
from tests.helpers.sam_reference import distance

CASES = {
    "loss_weight": ({"loss_weight": 0.25}, {"weight": 0.25}),
    "loss_margin": ({"loss_margin": 3.0}, {"margin": 3.0}),
    "loss_detach_after": ({"loss_detach_after": 0.2}, {"after": 0.2}),
    "never": ({"loss_detach_after": 1.0}, {"after": 1.0}),
    "loss_lr": ({"loss_lr": 0.05}, {"groups": {"lr": 0.05}}),
    "loss_weight_decay": ({"loss_weight_decay": 0.1}, {"groups": {"weight_decay": 0.1}}),
    "loss_layers": ({"loss_layers": ["net.1"]}, {}),
}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("name", "as_attribute"),
    [
        *((name, False) for name in CASES),
        ("loss_margin", True),
        *(slow(name, True) for name in CASES if name != "loss_margin"),
    ],
)
def test_options_reach_the_training(name, as_attribute):
    options, by_hand = CASES[name]
    form, options = (type("Net", (Front,), dict(options)), {}) if as_attribute else (Front, options)
    model, net = trained(form, by_hand=by_hand, **options)
    if name != "loss_layers":
        plain, module = copies(made(Front(loss_width=WIDTH)))
        torch.manual_seed(0)
        hand(plain, module, list(loader()))
        assert name in ("loss_lr", "loss_weight_decay") or distance(net, plain) > 1e-6


def test_loss_width():
    assert made(Front(loss_width=9)).loss_prediction.head.in_features == 9
    assert made(Front()).loss_prediction.head.in_features == 128


def test_loss_variant():
    model = made(Front(loss_width=WIDTH, loss_variant="paper"))
    net, module = copies(model)
    batch = next(iter(loader()))
    fitted(model, max_epochs=1, limit_train_batches=1)
    optimizer = sgd([*net.parameters(), *module.parameters()])
    losses = F.cross_entropy(net(batch[0]), batch[1], reduction="none")
    predicted = module({"net.1": net[:2](batch[0])})
    (losses.mean() + (1 - losses.detach() * (predicted - losses.detach())).clamp(min=0).mean()).backward()
    optimizer.step()
    compare(model, (net, module))


def test_loss_scheduled():
    def stepped(params):
        optimizer = sgd(params)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])}

    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.seen.append(tuple(group["lr"] for group in optimizer.param_groups))

    for scheduled, expected in ((True, [0.1, 0.01, 0.001]), (False, [0.1, 0.1, 0.1])):
        rates = Rates()
        model = Front(optimizer=stepped, loss_lr=0.1, loss_scheduled=scheduled)
        fitted(model, max_epochs=3, limit_train_batches=1, callbacks=[rates])
        assert [r[0] for r in rates.seen] == pytest.approx([0.3, 0.03, 0.003])
        assert [r[1] for r in rates.seen] == pytest.approx(expected)
    rates = Rates()
    fitted(Front(optimizer=stepped, loss_scheduled=False), max_epochs=3, limit_train_batches=1, callbacks=[rates])
    assert [r[1] for r in rates.seen] == pytest.approx([0.3] * 3)


def warm_up(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2)


def one_cycle(optimizer):  # begins at max_lr / 25
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=9, cycle_momentum=False)


@pytest.mark.parametrize("schedule", [warm_up, one_cycle])
@pytest.mark.parametrize("own", [None, 0.1])
def test_the_rate_that_is_not_scheduled_is_the_one_before_a_warm_up(schedule, own):
    """Two steps of SGD with the module's rate as it was given, by hand."""

    def warmed(params):
        optimizer = torch.optim.SGD(params, lr=0.3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}

    model = made(Front(loss_width=WIDTH, optimizer=warmed, loss_scheduled=False, loss_lr=own, loss_detach_after=1.0))
    net, module = copies(model)
    batches = list(loader())[:2]
    fitted(model, max_epochs=1, limit_train_batches=2)
    optimizer = torch.optim.SGD([{"params": net.parameters()}, {"params": module.parameters()}], lr=0.3)
    rates = schedule(optimizer)
    for x, y in batches:
        optimizer.param_groups[1]["lr"] = 0.3 if own is None else own
        hidden = net[:2](x)
        losses = F.cross_entropy(net[2](hidden), y, reduction="none")
        optimizer.zero_grad()
        (losses.mean() + pair_loss(module({"net.1": hidden}), losses.detach())).backward()
        optimizer.step()
        rates.step()
    compare(model, (net, module))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_layers": []}, "loss_layers"),
        ({"loss_layers": ["a", "a"]}, "loss_layers.*distinct"),
        ({"loss_weight": 0.0}, "loss_weight.*0.0"),
        ({"loss_margin": -1.0}, "`loss_margin`.*-1.0"),
        ({"loss_variant": "triples"}, "`loss_variant`.*triples"),
        ({"loss_width": 0}, "loss_width.*0"),
        ({"loss_detach_after": 1.5}, "loss_detach_after.*1.5"),
        ({"loss_lr": -0.1}, "loss_lr.*-0.1"),
        ({"loss_weight_decay": -0.1}, "loss_weight_decay.*-0.1"),
    ],
)
def test_bad_options_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        Front(**options)
    with pytest.raises(ValueError, match=message):
        type("Net", (Front,), dict(options))()


def test_keywords_go_where_they_belong():
    class Theirs(Plain):
        loss_margin = "mine"  # behind the mixin

        def __init__(self, loss_weight=0.0, **kwargs):
            super().__init__(**kwargs)
            self.loss_weight = loss_weight

    class Net(SAMMixin, LossPredictionMixin, Theirs):
        loss_width = 3

    model = Net(loss_weight=7.0, loss_lr=0.5, rho=0.2)
    options = model._loss_prediction.options
    assert (model.loss_weight, options.loss_weight, options.loss_lr, options.loss_width) == (7.0, 1.0, 0.5, 3)
    assert (options.loss_margin, model._sam.options.rho) == (1.0, 0.2)
    with pytest.raises(TypeError, match="loss_wait"):
        Front(loss_wait=1)


def test_the_order_of_bases_and_a_mixin_alone():
    with pytest.raises(TypeError, match=r"class Net\(LossPredictionMixin, Plain|class Net\(LossPredictionMixin, Net\)"):

        class Net(Plain, LossPredictionMixin):
            pass

    with pytest.raises(TypeError, match=r"class Net\(LossPredictionMixin, YourModule\)"):
        LossPredictionMixin()


def test_jsonargparse_sees_the_options_and_the_modules_own():
    jsonargparse = pytest.importorskip("jsonargparse")

    class Module(LightningModule):
        def __init__(self, width: int = 7):
            super().__init__()
            self.width = width

    class Both(SAMMixin, LossPredictionMixin, Module):
        pass

    class One(LossPredictionMixin, Module):
        pass

    for cls, more in ((One, {}), (Both, {"rho": 0.3})):
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, "model")
        given = {"loss_layers": ["a"], "loss_variant": "paper", "loss_lr": 0.1, "loss_scheduled": False, "width": 9}
        model = parser.instantiate(parser.parse_object({"model": {**given, **more}})).model
        options = model._loss_prediction.options
        assert (options.loss_layers, options.loss_variant, options.loss_lr) == (["a"], "paper", 0.1)
        assert (options.loss_scheduled, model.width) == (False, 9)
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_object({"model": {"loss_variant": "triples"}})


def test_options_of_the_wrong_type_are_one_type_error():
    wrong = {
        "loss_layers": "net.1",
        "loss_weight": "1",
        "loss_margin": "1",
        "loss_width": 1.5,
        "loss_detach_after": True,
        "loss_lr": "0.1",
        "loss_weight_decay": [0],
        "loss_scheduled": "no",
    }
    with pytest.raises(TypeError) as caught:
        Front(**wrong)
    first, *lines = str(caught.value).splitlines()
    assert first == "8 things cannot be as they are:"
    for line, (name, value) in zip(lines, wrong.items(), strict=True):
        assert f"`{name}` must be " in line
        assert line.endswith(f"got {value!r}.")
