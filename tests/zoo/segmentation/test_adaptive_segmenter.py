import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import AdaptiveSegmenter
from tests.zoo.segmentation.test_adaptation_losses import consistency_written_out, negative_written_out
from tests.zoo.segmentation.test_segmenter import QUIET, scenes


class Net(nn.Sequential):
    def __init__(self, classes=3):
        super().__init__()
        self.add_module("backbone", nn.Conv2d(3, 4, 3, padding=1))
        self.add_module("classifier", nn.Conv2d(4, classes, 1))


def batch(domains, void=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = 3 * torch.randn(len(domains), 3, 4, 5, generator=generator, dtype=torch.double)
    targets = torch.randint(3, (len(domains), 4, 5), generator=generator)
    targets[torch.rand(len(domains), 4, 5, generator=generator) < void] = 255
    return images, targets, torch.tensor(domains)


def cross_entropy(logits, targets):
    known = targets != 255
    return F.cross_entropy(logits.movedim(1, -1)[known], targets[known]) if known.any() else 0.0


def loss_of(model, given):
    model.log = lambda *args, **kwargs: None
    return model.training_step(given, 0)


class TestLoss:
    @pytest.mark.parametrize("domains", [[0, 0, 1, 1], [1, 0, 1], [0, 0]])
    def test_sum_of_four(self, domains):
        torch.manual_seed(0)
        options = {"local_consistency": 0.3, "negative_learning": 0.7, "negative_below": 0.2}
        model = AdaptiveSegmenter(Net(), 3, **options).double()
        images, targets, domain = batch(domains)
        loss = loss_of(model, (images, targets, domain))
        logits = model(images)
        source, target = (logits[domain == d] for d in (0, 1))
        expected = cross_entropy(source, targets[domain == 0]) + cross_entropy(target, targets[domain == 1])
        expected = expected + 0.3 * consistency_written_out(source, targets[domain == 0])
        expected = expected + 0.7 * negative_written_out(target, 0.2)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-12)

    def test_images_beside_the_batch_until_something_was_told(self):
        torch.manual_seed(0)
        model = AdaptiveSegmenter(Net(), 3, negative_below=0.2, local_consistency=0).double()
        beside = batch([1, 1], seed=1)[0]
        images, targets, domain = batch([0, 0])
        loss = loss_of(model, {"labelled": (images, targets, domain), "target": beside})
        expected = cross_entropy(model(images), targets) + negative_written_out(model(beside), 0.2)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
        told = batch([0, 1])
        assert loss_of(model, {"labelled": told, "target": beside}) == loss_of(model, told)

    def test_nothing_told_of_the_target(self):
        """Images are there, and all of their pixels void: the cross-entropy is of the source's alone."""
        torch.manual_seed(0)
        model = AdaptiveSegmenter(Net(), 3, negative_learning=0, local_consistency=0).double()
        images, targets, domain = batch([0, 1])
        targets[1] = 255
        loss = loss_of(model, (images, targets, domain))
        assert float(loss) == pytest.approx(float(cross_entropy(model(images[:1]), targets[:1])), abs=1e-12)


def data():
    images, targets = scenes(8)
    return DataLoader(TensorDataset(images, targets, torch.arange(8) % 2), 2)


class Rates(pl.Callback):
    def __init__(self, rates):
        self.rates = rates  # the test's own, which a callback's renewal leaves alone

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_one_schedule_over_several_fits():
    """The rate of each step by the formula, over three fits that end where they are told to."""
    model = AdaptiveSegmenter(Net(2), 2, poly_steps=12, poly_power=0.9, head_rate=10, rounds_end_at=[5, 7, 10])
    rates = Rates([])
    for end in (5, 7, 10):
        pl.Trainer(max_epochs=-1, callbacks=[rates], **QUIET).fit(model, data())
        assert int(model.trained_steps) == end
    assert len(rates.rates) == 10
    for step, (of_rest, of_head) in enumerate(rates.rates):
        assert of_rest == pytest.approx(2.5e-4 * (1 - step / 12) ** 0.9, rel=1e-9)
        assert of_head == pytest.approx(10 * of_rest, rel=1e-9)
    model.trained_steps += 50
    assert model.rate_left() == 0


def test_rounds_end_with_accumulated_gradients_too():
    model = AdaptiveSegmenter(Net(2), 2, rounds_end_at=[2, 3, 7])
    for steps in (2, 1, 4):
        trainer = pl.Trainer(max_epochs=-1, accumulate_grad_batches=2, **QUIET)
        trainer.fit(model, data())
        assert trainer.global_step == steps


def test_a_fit_that_was_interrupted_goes_on_with_its_count(tmp_path):
    def new():
        torch.manual_seed(0)
        return AdaptiveSegmenter(Net(2), 2, poly_steps=20, rounds_end_at=[12])

    whole, rates = new(), Rates([])
    pl.Trainer(max_epochs=-1, callbacks=[rates], **QUIET).fit(whole, data())
    first = pl.Trainer(max_epochs=2, **QUIET)
    first.fit(new(), data())
    first.save_checkpoint(tmp_path / "x.ckpt")
    later, later_rates = new(), Rates([])
    pl.Trainer(max_epochs=-1, callbacks=[later_rates], **QUIET).fit(later, data(), ckpt_path=tmp_path / "x.ckpt")
    assert later_rates.rates == rates.rates[8:]
    assert int(later.trained_steps) == 12
    for one, other in zip(whole.state_dict().values(), later.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_groups_hold_each_weight_once():
    model = AdaptiveSegmenter(Net(), 3)
    rest, head = model.configure_optimizers().param_groups
    assert {id(p) for p in head["params"]} == {id(p) for p in model.net.classifier.parameters()}
    assert {id(p) for p in rest["params"]} == {id(p) for p in model.net.backbone.parameters()}


def test_what_is_refused():
    with pytest.raises(
        ValueError, match=r"`head='top'` is no part of Net with weights; there are backbone, classifier"
    ):
        AdaptiveSegmenter(Net(), 3, head="top")
    with pytest.raises(TypeError, match=r"`rounds_end_at` must be steps, ascending from 1 on, got \[5, 5\]"):
        AdaptiveSegmenter(Net(), 3, rounds_end_at=[5, 5])
    with pytest.raises(ValueError, match=r"`poly_steps` must be at least 1.*\n.*`poly_power` must be above 0"):
        AdaptiveSegmenter(Net(), 3, poly_steps=0, poly_power=0)
