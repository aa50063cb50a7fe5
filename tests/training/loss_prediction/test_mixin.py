import copy
import pickle
import warnings

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.nn import LossPrediction
from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from lightning_al.training.loss_prediction.features import pooled_outputs
from lightning_al.zoo import TextClassifier
from tests.helpers.loss_reference import (
    EPOCHS,
    FORMS,
    SAM_FORMS,
    WIDTH,
    Front,
    Own,
    Plain,
    copies,
    fitted,
    hand,
    loader,
    made,
    network,
    sgd,
    trainer,
)
from tests.helpers.sam_reference import by_norm, distance

EXACT = 1e-10  # SAM divides by a norm plus 1e-12


def compare(model, by_hand):
    net, module = by_hand
    assert distance(model.net, net) < EXACT
    assert distance(model.loss_prediction, module) < EXACT


def trained(form, fit=(), by_hand=(), **options):
    """A form fitted by Lightning, beside the loop written by hand."""
    model = made(form(loss_width=WIDTH, **options))
    net, module = copies(model)
    fitted(model, **dict(fit))
    hand(net, module, list(loader()), **dict(by_hand))
    compare(model, (net, module))
    return model, net


# ---- equal to the loop written by hand


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


@pytest.mark.parametrize(
    "form", SAM_FORMS, ids=lambda f: f"{f.__name__}-{'auto' if issubclass(f, AutoSAMMixin) else 'manual'}"
)
def test_under_sam_both_passes_have_both_losses(form):
    trained(form, rho=0.3, by_hand={"rho": 0.3})


CASES = {
    "loss_weight": ({"loss_weight": 0.25}, {"weight": 0.25}),
    "loss_margin": ({"loss_margin": 3.0}, {"margin": 3.0}),
    "loss_detach_after": ({"loss_detach_after": 0.2}, {"after": 0.2}),
    "never": ({"loss_detach_after": 1.0}, {"after": 1.0}),
    "loss_lr": ({"loss_lr": 0.05}, {"groups": {"lr": 0.05}}),
    "loss_weight_decay": ({"loss_weight_decay": 0.1}, {"groups": {"weight_decay": 0.1}}),
    "loss_layers": ({"loss_layers": ["net.1"]}, {}),
}


@pytest.mark.parametrize("as_attribute", [False, True])
@pytest.mark.parametrize("name", CASES)
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
    (losses.mean() + (1 - losses.detach() * predicted).clamp(min=0).mean()).backward()
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


# ---- the switch


class Reach(Callback):
    """Whether the auxiliary loss reaches the main model, epoch by epoch: by the gradient with a main loss of zero."""

    def __init__(self):
        self.main, self.module = [], []

    def on_after_backward(self, trainer, pl_module):
        self.main.append(max(float(p.grad.abs().max()) for p in pl_module.net[0].parameters()))
        self.module.append(max(float(p.grad.abs().max()) for p in pl_module.loss_prediction.parameters()))


@pytest.mark.parametrize(
    ("epochs", "share", "last"), [(10, None, 6), (5, None, 3), (4, 0.0, 0), (4, 0.5, 2), (3, 1.0, 2), (100, 0.57, 57)]
)
def test_the_gradient_reaches_the_main_model_up_to_an_epoch(epochs, share, last):
    class NoMain(Front):
        def training_step(self, batch, batch_idx):
            return 0 * super().training_step(batch, batch_idx)

        def losses_per_sample(self, caught, output, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1], reduction="none")

    reach = Reach()
    model = NoMain(
        optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
        loss_margin=50.0,
        **({} if share is None else {"loss_detach_after": share}),
    )
    fitted(model, max_epochs=epochs, limit_train_batches=1, callbacks=[reach])
    assert [g > 0 for g in reach.main] == [epoch <= last for epoch in range(epochs)]
    assert all(g > 0 for g in reach.module)


# ---- the losses


def test_a_loss_written_by_hand_needs_the_method():
    class ByHand(Plain):
        def training_step(self, batch, batch_idx):
            log_p = self(batch[0]).log_softmax(1)
            losses = -log_p.gather(1, batch[1][:, None])[:, 0]
            return {"loss": losses.mean(), "losses": losses}

    class Net(LossPredictionMixin, ByHand):
        pass

    with pytest.raises(MisconfigurationException, match=r"Override `losses_per_sample\(self, caught, output"):
        fitted(Net())

    class Tells(LossPredictionMixin, ByHand):
        def losses_per_sample(self, caught, output, batch, batch_idx):
            assert caught is None
            return output["losses"]

    trained(Tells)


def test_batches_of_one_and_odd_ones():
    model = made(Front(loss_width=WIDTH))
    before = copy.deepcopy(model.loss_prediction)
    fitted(model, loader(count=1), max_epochs=1)
    assert distance(model.loss_prediction, before) == 0
    fitted(model, loader(count=5, batch_size=5), max_epochs=1)
    assert distance(model.loss_prediction, before) > 0


@pytest.mark.parametrize("shape", [(2,), ()])
def test_losses_of_another_shape_are_refused(shape):
    class Net(Front):
        def losses_per_sample(self, caught, output, batch, batch_idx):
            return torch.zeros(shape, dtype=torch.float64)

    with pytest.raises(MisconfigurationException, match=r"features are of 4 samples.*losses_per_sample"):
        fitted(Net())


@pytest.mark.parametrize(
    ("output", "said"), [(None, "returned None"), ({"x": 1}, r"a dict with the keys \['x'\]"), (1, "an? int")]
)
def test_a_step_that_returns_no_loss_is_refused(output, said):
    class Nothing(Front):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            return output

    with pytest.raises(MisconfigurationException, match=said):
        fitted(Nothing())


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


# ---- which layers


class Maps(LightningModule):
    def __init__(self, net, **kwargs):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def found(net, x, **options):
    class Net(LossPredictionMixin, Maps):
        pass

    model = Net(net=net, **options)
    assert model.predict_losses(x).shape == (len(x),)
    shapes = {k: v.shape[1] for k, v in model.loss_prediction.state_dict().items() if k.endswith("weight") and "/" in k}
    return model.loss_prediction.layers, shapes


def test_of_a_resnet_the_four_stages():
    from lightning_al.zoo import ResNet18

    for dimensions in (1, 2, 3):
        net = ResNet18(width=4, in_channels=1, dimensions=dimensions)
        layers, shapes = found(net, torch.zeros(2, 1, *[16] * dimensions))
        assert layers == [f"net.layer{i}" for i in (1, 2, 3, 4)]
        assert list(shapes.values()) == [4, 8, 16, 32]
    torchvision = pytest.importorskip("torchvision")
    layers, _ = found(torchvision.models.resnet18(num_classes=3), torch.zeros(2, 3, 64, 64))
    assert layers == [f"net.layer{i}" for i in (1, 2, 3, 4)]


def test_of_transformers_the_last_tokens():
    from lightning_al.zoo import TextClassifier, ViT

    layers, shapes = found(ViT(dim=16, depth=2, heads=2, image_size=16), torch.zeros(2, 3, 16, 16))
    assert layers == ["net.patch_embedding", "net.layers.1"]  # the final norm gets the class token alone
    assert set(shapes.values()) == {16}
    layers, shapes = found(TextClassifier(3, 20, 8, dim=8, depth=1, heads=2), torch.ones(2, 8, dtype=torch.long))
    assert len(layers) == 1
    assert list(shapes) == [f"sequences./{layers[0].replace('.', '/')}.weight"]  # 8 tokens of 8 channels
    lstm, shapes = found(Last(nn.LSTM(4, 3, batch_first=True, bidirectional=True), 6), torch.zeros(2, 5, 4))
    assert lstm == ["net.layer"]
    assert shapes == {"sequences./net/layer.weight": 6}


class Last(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.fc = layer, nn.Linear(width, 2)

    def forward(self, x):
        return self.fc(self.layer(x)[0][:, -1])


def test_of_vectors_and_of_a_single_layer():
    assert found(network().float(), torch.zeros(2, 5))[0] == ["net.1"]
    assert found(nn.Linear(4, 3), torch.zeros(2, 4))[0] == ["net"]


class Padded(LightningModule):
    """A layer that is told where sequences end, in one of the ways of torch."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(1)
        encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        decoder = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
        layers = {"layer": encoder, "stack": nn.TransformerEncoder(encoder, 2), "decoder": decoder}
        self.way, self.layer = way, layers.get(way, encoder)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        padding = (x == 0).all(2)
        if self.way == "decoder":
            h = self.layer(x, x[:, :1], tgt_key_padding_mask=padding)
        elif self.way == "by position":
            h = self.layer(x, None, padding)
        elif self.way == "floats":
            h = self.layer(x, src_key_padding_mask=torch.zeros_like(x[..., 0]).masked_fill(padding, -torch.inf))
        else:
            h = self.layer(x, src_key_padding_mask=padding)
        return self.head(h.masked_fill(padding.unsqueeze(2), 0).sum(1))


@pytest.mark.parametrize("way", ["layer", "stack", "decoder", "by position", "floats"])
def test_padding_is_passed_over(way):
    class Net(LossPredictionMixin, Padded):
        loss_width = 5
        loss_layers = ["layer"]

    model = Net(way).double()
    short = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    long = torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    together = torch.cat([F.pad(short, (0, 0, 0, 4)), long])
    alone = torch.cat([model.predict_losses(short), model.predict_losses(long)])
    torch.testing.assert_close(model.predict_losses(together), alone)
    hidden = model.eval().layer(short) if way != "decoder" else model.eval().layer(short, short[:, :1])
    torch.testing.assert_close(alone[:1], model.loss_prediction({"layer": hidden.mean(1)}).detach())


def test_padding_of_texts_in_training_and_scoring():
    """The zoo's, whose batches are as long as their longest text."""

    class Net(LossPredictionMixin, Plain):
        loss_width = 5

    model = Net(net=TextClassifier(num_classes=3, vocabulary=20, dim=8, heads=2)).double()
    short, long = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0], [6, 7, 8, 9, 9, 1]])
    torch.testing.assert_close(model.predict_losses(long)[:1], model.predict_losses(short))
    seen = []
    model.loss_prediction.register_forward_pre_hook(lambda _, args: seen.append(args[0]["net.layers.0"]))
    model.net.eval()
    for batch in (short, long):
        with pooled_outputs(model, model.loss_prediction) as features:
            model(batch)
            model.loss_prediction(features())
    torch.testing.assert_close(seen[1][:1], seen[0])


def test_channels_where_blocks_permute():
    class Block(nn.Module):  # as in ConvNeXt
        def __init__(self):
            super().__init__()
            self.conv, self.mlp = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)

        def forward(self, x):
            return self.mlp(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    net = nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    assert found(net, torch.zeros(2, 3, 7, 7)) == (["net.0"], {"maps./net/0.weight": 5})
    assert found(net, torch.zeros(2, 3, 7, 7), loss_layers=["net.0.mlp"])[1] == {"sequences./net/0/mlp.weight": 5}


def test_a_map_that_is_written_into_later_is_kept_as_it_was():
    class Net(LossPredictionMixin, Maps):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, 2))
    model = Net(net=net, loss_layers=["net.0"], loss_width=3)
    x, y = torch.randn(4, 1, 5), torch.tensor([0, 1, 0, 1])
    fitted(model, DataLoader(TensorDataset(x, y), batch_size=4), max_epochs=1)
    expected = model.loss_prediction({"net.0": net[0](x)})
    torch.testing.assert_close(model.predict_losses(x), expected.detach())


def test_unknown_and_unusable_layers_are_refused():
    with pytest.raises(ValueError, match=r"no layer 'net.layer9'.*'net\.0'|no layer 'net.layer9'"):
        fitted(Front(loss_layers=["net.layer9"]))

    class Unused(Front):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.idle = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="'idle' does not run"):
        fitted(Unused(loss_layers=["idle"]))
    with pytest.raises(ValueError, match=r"shape \(5, 2, 6\) for 2 samples.*batch_first"):
        found(TimeFirst(), torch.zeros(2, 5, 4), loss_layers=["net.layer"])


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.GRU(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.layer(x.transpose(0, 1))[0][-1])


def test_a_layer_that_does_not_run_in_training_is_refused():
    class Other(Front):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net[2](self.net[0](batch[0])), batch[1])

    with pytest.raises(RuntimeError, match=r"'net.1'.*gave nothing.*loss_layers"):
        fitted(Other())


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_layers": "net.1"}, "loss_layers.*'net.1'"),
        ({"loss_layers": []}, "loss_layers"),
        ({"loss_layers": ["a", "a"]}, "loss_layers.*distinct"),
        ({"loss_weight": 0.0}, "loss_weight.*0.0"),
        ({"loss_margin": -1.0}, "margin.*-1.0"),
        ({"loss_variant": "triples"}, "variant.*triples"),
        ({"loss_width": 0}, "loss_width.*0"),
        ({"loss_detach_after": 1.5}, "loss_detach_after.*1.5"),
        ({"loss_lr": -0.1}, "loss_lr.*-0.1"),
        ({"loss_weight_decay": -0.1}, "loss_weight_decay.*-0.1"),
        ({"loss_scheduled": "no"}, "loss_scheduled.*no"),
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


# ---- what a fit may do


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


def test_made_in_a_plain_fit_and_configure_model():
    class Late(Front):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net, self.calls = None, 0

        def configure_model(self):
            self.calls += 1
            self.net = self.net or network()

    model = Late(loss_width=WIDTH)
    torch.manual_seed(5)
    fitted(model, max_epochs=1)
    assert (model.calls, model.loss_prediction.layers) == (1, ["net.1"])
    weights = model.loss_prediction
    fitted(model, max_epochs=1)
    assert model.loss_prediction is weights


def test_making_it_draws_nothing_from_the_global_generators():
    model, again = Front(), Front()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    made(model)
    assert torch.equal(torch.get_rng_state(), state)
    made(again)
    assert distance(model.loss_prediction, again.loss_prediction) == 0  # and follows from them


def test_example_input_array_and_batches_that_say_nothing():
    class Dicts(Front):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch["x"]), batch["y"])

    rows = [{"x": x, "y": y} for x, y in loader().dataset]
    with pytest.raises(MisconfigurationException, match=r"\(dict\).*example_input_array"):
        fitted(Dicts(), DataLoader(rows, batch_size=4), max_epochs=1)
    model = Dicts()
    for example in (torch.zeros(3, 5).double(), (torch.zeros(3, 5).double(),), {"x": torch.zeros(3, 5).double()}):
        model.example_input_array = example
        fitted(model, DataLoader(rows, batch_size=4), max_epochs=1)
        del model.loss_prediction

    class NoForward(Front):
        forward = LightningModule.forward

    with pytest.raises(MisconfigurationException, match=r"could not be run once.*example_input_array"):
        fitted(NoForward())


def test_a_module_of_ones_own_is_taken():
    model = Front()
    model.loss_prediction = own = LossPrediction({"net.0": 7}, width=2).double()
    fitted(model, max_epochs=1)
    assert model.loss_prediction is own
    taken = Front()
    taken.loss_prediction = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"Front.loss_prediction is a Linear.*Rename"):
        fitted(taken, max_epochs=1)


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


def test_its_parameters_are_one_group_whatever_the_user_does():
    model = made(Front(optimizer=lambda params: torch.optim.Adam(params, lr=0.1)))
    fit = fitted(model, max_epochs=1)
    [optimizer] = fit.optimizers
    assert [len(g["params"]) for g in optimizer.param_groups] == [4, 4]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in model.loss_prediction.parameters()}

    class OnlyNet(Front):
        def configure_optimizers(self):
            return {"optimizer": sgd(self.net.parameters())}

    trained(OnlyNet)
    model = Front(loss_width=WIDTH)
    model.configure_optimizers = lambda: sgd(model.parameters())  # as the command line does
    fit = fitted(model, max_epochs=1)
    assert len(fit.optimizers[0].param_groups) == 2
    assert model.configure_optimizers.__name__ == "<lambda>"


def test_another_optimizer_than_the_first_made_is_refused():
    class Second(Front):
        def configure_optimizers(self):
            sgd(self.parameters())
            return sgd(self.parameters())

    with pytest.raises(MisconfigurationException, match=r"Second.configure_optimizers returned does not have"):
        fitted(Second(), max_epochs=1)


def test_an_optimizer_made_before_is_refused():
    class Early(Front):
        def __init__(self):
            super().__init__()
            self.made = sgd(self.parameters())

        def configure_optimizers(self):
            return self.made

    with pytest.raises(MisconfigurationException, match="made no optimizer"):
        fitted(Early())


# ---- refusals before anything trains


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
