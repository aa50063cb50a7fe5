import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn import functional as F
from torchmetrics import CatMetric, MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision

from lightning_al.training.sam.second_pass import RandomState, left_unchanged
from tests.helpers.sam_reference import AutoFront, ManualFront, Plain, copy_of, fitted, loader, trainer

FORMS = [ManualFront, AutoFront]
TINY = {"rho": 1e-300}  # the same training as without SAM, to the bit, but with its second pass


class Rows(Metric):
    """A list state, a plain attribute and a buffer of its own."""

    full_state_update = False  # one update per call

    def __init__(self):
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.register_buffer("seen", torch.tensor(0))
        self.updates = 0

    def update(self, x):
        self.rows.append(x.detach().sum(1))
        self.total += len(x)
        self.seen += 1
        self.updates += 1

    def compute(self):
        return torch.cat(self.rows).mean()


class History(Callback):
    def __init__(self):
        self.steps, self.epochs = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps.append({k: v.item() for k, v in trainer.callback_metrics.items()})

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append({k: v.item() for k, v in trainer.callback_metrics.items()})


def with_metrics(form):
    class Net(form):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.accuracy = MulticlassAccuracy(num_classes=3)
            self.group = MetricCollection([MulticlassPrecision(num_classes=3), MulticlassF1Score(num_classes=3)])
            self.rows = Rows()
            self.cat = CatMetric()
            self.mean = MeanMetric()
            self.val_mean = MeanMetric()
            self.outputs = []

        def training_step(self, batch, batch_idx):
            x, y = batch
            z = self.net(x)
            loss = F.cross_entropy(z, y)
            self.accuracy(z, y)
            self.group.update(z, y)
            self.cat.update(z.sum().detach())
            self.rows(x)
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
            self.log_dict({"sum": z.sum(), "mean": z.mean()}, on_step=False, on_epoch=True, reduce_fx="sum")
            self.log("running", self.mean(loss.detach()), on_step=True)
            return loss

        def validation_step(self, batch, batch_idx):
            self.val_mean(batch[0].mean())  # leaves inference tensors in its state
            self.log("val", self.val_mean)

        def on_train_epoch_end(self):
            self.log_dict(self.group.compute())
            self.outputs.append([self.cat.compute().clone(), self.rows.compute().clone(), self.rows.total.clone()])
            self.outputs.append([torch.tensor([self.rows.updates, self.rows.seen, self.cat.update_count])])
            self.group.reset()

    return Net


@pytest.mark.few(1)
@pytest.mark.parametrize("form", FORMS)
def test_logged_values_and_metrics_are_those_of_a_run_without_the_second_pass(form):
    runs = []
    for model in (with_metrics(Plain)(), with_metrics(form)(**TINY)):
        history = History()
        trainer(max_epochs=3, callbacks=[history], val_check_interval=0.5).fit(model, loader(), loader(8))
        runs.append((history, model))
    (plain, module), (sam, sam_module) = runs
    assert len(plain.steps) == 18
    assert {"loss_step", "loss_epoch", "accuracy_epoch", "sum", "MulticlassF1Score", "val"} <= set(plain.epochs[-1])
    assert sam.steps == plain.steps
    assert sam.epochs == plain.epochs
    for a, b in zip(module.outputs, sam_module.outputs, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert sam_module.passes == []
    assert sam_module.accuracy.update_count == module.accuracy.update_count


@pytest.mark.parametrize("form", FORMS)
def test_what_a_callback_gets_is_of_the_first_pass(form):
    class Outputs(Callback):
        def __init__(self):
            self.losses = []

        def on_train_batch_end(self, trainer, pl_module, outputs, *_):
            self.losses.append(outputs["loss"].item())

    seen = []
    for model in (Plain(), form(**TINY), form(rho=0.5)):
        outputs = Outputs()
        fitted(model, callbacks=[outputs], max_epochs=1)
        seen.append(outputs.losses)
    assert seen[0] == seen[1]
    assert seen[0][0] == seen[2][0]  # with a large ρ too: the loss at θ


def norms(momentum=0.1):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(5, 6),
        nn.BatchNorm1d(6, momentum=momentum),
        nn.Unflatten(1, (2, 3)),
        nn.InstanceNorm1d(2, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).double()


@pytest.mark.few(3)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("form", FORMS)
def test_running_statistics(form, momentum, n):
    def run(make, **options):
        manual = make is ManualFront
        model = make(net=norms(momentum), **options, **({"accumulate_grad_batches": n} if manual else {}))
        fitted(model, data=loader(20), **({} if manual else {"accumulate_grad_batches": n}))
        return dict(model.net.named_buffers())

    plain, first, both = run(Plain), run(form, **TINY), run(form, **TINY, running_stats="both")
    assert len(plain) == 6
    assert int(plain["1.num_batches_tracked"]) == 10
    assert all(torch.equal(plain[name], first[name]) for name in plain)
    assert int(both["1.num_batches_tracked"]) == 20
    assert not torch.allclose(plain["3.running_var"], both["3.running_var"])


@pytest.mark.parametrize("form", FORMS)
def test_other_buffers_are_kept_too(form):
    def run(make, **options):
        torch.manual_seed(3)
        net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3))).double()
        return dict(fitted(make(net=net, **options), max_steps=1).net.named_buffers())

    plain, first, both = run(Plain), run(form), run(form, running_stats="both")
    assert len(plain) == 2
    assert all(torch.equal(plain[name], first[name]) for name in plain)
    assert not any(torch.equal(plain[name], both[name]) for name in plain)


@pytest.mark.parametrize("form", FORMS)
def test_metrics_are_restored_also_when_statistics_are_not(form):
    model = with_metrics(form)(running_stats="both", **TINY)
    fitted(model, max_epochs=1)
    assert model.rows.updates == int(model.rows.seen) == 6


@pytest.mark.parametrize("form", FORMS)
def test_the_user_can_tell_the_passes_apart(form):
    model = form()
    fitted(model, max_epochs=1)
    assert model.passes == [0, 1] * 6
    with pytest.raises(AttributeError):
        model.sam_pass = 1


@pytest.mark.parametrize("updates", [0, 1, 3])
def test_left_unchanged_keeps_values_identities_and_counts(updates):
    group = MetricCollection([MulticlassPrecision(num_classes=3), MulticlassF1Score(num_classes=3)])
    module = nn.ModuleList([Rows(), group, MeanMetric()])
    g = torch.Generator().manual_seed(0)

    def update():
        x = torch.rand(8, 3, generator=g)
        module[0](x)
        group.update(x, x.argmin(1))
        module[2].update(x)
        module[2].compute()

    for _ in range(updates):
        update()
    metrics = [m for m in module.modules() if isinstance(m, Metric)]
    kept = copy_of(module)
    ids = [{k: id(v) for k, v in m.metric_state.items()} for m in metrics]
    keys = [set(m.__dict__) for m in metrics]
    with left_unchanged(module, buffers=False):
        module[0].total += 1  # in place, on the very tensor
        module[2].reset()
        update()
        update()
        module[0].new = torch.ones(1)
        module[0].total += 1
    assert ids == [{k: id(v) for k, v in m.metric_state.items()} for m in metrics]
    assert keys == [set(m.__dict__) for m in metrics]
    was = [m for m in kept.modules() if isinstance(m, Metric)]
    for a, b in zip(metrics, was):
        assert a.update_count == b.update_count
        for name, value in a.metric_state.items():
            other = b.metric_state[name]
            pairs = zip(value, other, strict=True) if isinstance(value, list) else [(value, other)]
            assert all(torch.equal(x, y) for x, y in pairs)
    assert (module[0].updates, int(module[0].seen)) == (kept[0].updates, int(kept[0].seen))
    before = len(metrics[0].rows)
    update()
    assert len(metrics[0].rows) == before + 1  # and they go on working
    assert group.compute()["MulticlassPrecision"] is not None


def test_left_unchanged_also_after_an_exception_and_for_replaced_buffers():
    norm = nn.BatchNorm1d(2)
    mean = norm.running_mean
    with pytest.raises(KeyError):
        with left_unchanged(norm, buffers=True):
            norm(torch.randn(4, 2))
            norm.running_mean = torch.ones(2)
            raise KeyError("user")
    assert norm.running_mean is mean
    assert mean.tolist() == [0, 0]
    with left_unchanged(norm, buffers=False):
        norm(torch.randn(4, 2))
    assert int(norm.num_batches_tracked) == 1


def test_left_unchanged_copes_with_states_left_by_a_validation():
    mean = MeanMetric()
    with torch.inference_mode():
        mean.reset()
        mean.update(2.0)
    assert mean.mean_value.is_inference()
    with left_unchanged(mean, buffers=True):
        mean.reset()
    assert mean.compute().item() == 2.0


def test_random_state_covers_python_and_numpy():
    import random

    import numpy as np

    def draw():
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    state = RandomState(torch.device("cpu"))
    first = draw()
    assert all(a != b for a, b in zip(first, draw()))
    state.restore()
    assert draw() == first
