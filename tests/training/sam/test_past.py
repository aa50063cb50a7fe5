"""SAF and MESA in a fit: equal to the loop written by hand, resumed, and with what they cannot do refused."""

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tests.helpers import sam_family_reference as reference
from tests.helpers.marks import slow
from tests.helpers.sam_reference import (
    EXACT,
    AutoFront,
    ManualFront,
    adam,
    distance,
    expected,
    fitted,
    loader,
    network,
    rows,
    sgd,
    trainer,
)

FORMS = [ManualFront, AutoFront]
OPTIONS = {
    "saf": {"trajectory_weight": 0.7, "temperature": 2.0, "start_epoch": 2, "lag": 2},
    "mesa": {"trajectory_weight": 0.7, "temperature": 2.0, "start_epoch": 1, "decay": 0.8},
}
BY_HAND = {
    "saf": {"weight": 0.7, "tau": 2.0, "start": 2, "lag": 2},
    "mesa": {"weight": 0.7, "tau": 2.0, "start": 1, "decay": 0.8},
}


def by_hand(variant, **kwargs):
    function = getattr(reference, variant)
    return function(network(), list(loader()), **{"make_optimizer": sgd, **BY_HAND[variant], **kwargs})


def plain(epochs, n=1):
    direction = lambda t, window, lr: window.gradient()  # noqa: E731
    return reference.by_hand(network(), list(loader()), sgd, direction, epochs=epochs, n=n)


@pytest.mark.parametrize(
    ("form", "variant", "n"),
    [
        (ManualFront, "saf", 2),
        (AutoFront, "mesa", 1),
        *(slow(ManualFront, *case) for case in (("saf", 1), ("mesa", 1), ("mesa", 2))),
        *(slow(AutoFront, *case) for case in (("saf", 1), ("saf", 2), ("mesa", 2))),
    ],
)
def test_mixins_are_the_loop_written_by_hand(form, variant, n):
    manual = form is ManualFront
    model = form(variant=variant, **OPTIONS[variant], **({"accumulate_grad_batches": n} if manual else {}))
    fitted(model, max_epochs=4, **({} if manual else {"accumulate_grad_batches": n}))
    assert distance(model.net, by_hand(variant, epochs=4, n=n)) < EXACT
    assert distance(model.net, plain(4, n)) > 1e-4
    assert set(model.passes) == ({0} if variant == "saf" else {0, 1})


@pytest.mark.parametrize("variant", ["saf", slow("mesa")])
def test_before_its_first_epoch_it_is_plain_training_and_says_so(variant):
    model = ManualFront(variant=variant)
    with pytest.warns(UserWarning, match=r"start_epoch=5.*max_epochs=2"):
        fitted(model, max_epochs=2)
    assert distance(model.net, plain(2)) < EXACT
    assert distance(model.net, expected()) > 1e-3  # no SAM


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", OPTIONS)
def test_resuming_goes_on_exactly(form, variant, tmp_path):
    def module():
        return form(variant=variant, optimizer=adam, **OPTIONS[variant])

    whole = fitted(module(), max_epochs=5)
    save = ModelCheckpoint(dirpath=tmp_path, filename="three")
    fitted(module(), max_epochs=3, enable_checkpointing=True, callbacks=[save])
    resumed = module()
    trainer(max_epochs=5).fit(resumed, loader(), ckpt_path=tmp_path / "three.ckpt", weights_only=True)
    assert distance(resumed.net, whole.net) == 0
    other = fitted(module(), max_epochs=5)
    fitted(other, max_epochs=5)  # a second fit begins anew, with another optimizer and nothing remembered
    twice = module()
    twice.load_state_dict(whole.state_dict())
    fitted(twice, max_epochs=5)
    assert distance(other.net, twice.net) == 0


def shuffled(**kwargs):
    data = rows()
    return DataLoader(data, batch_size=4, sampler=DistributedSampler(data, num_replicas=1, rank=0, seed=3), **kwargs)


class Numbered(Dataset):
    def __init__(self):
        self.rows = rows()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return (*self.rows[index], 1000 - index)


class Own(ManualFront):
    """Its batches have the numbers of their samples."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch[:2], batch_idx)

    def sample_ids(self, batch, batch_idx):
        return batch[2]


def numbered():
    order = DistributedSampler(rows(), num_replicas=1, rank=0, seed=3)
    return DataLoader(Numbered(), batch_size=4, sampler=order)


def test_samples_are_recognized_where_lightning_begins_a_loader_anew(tmp_path):
    """It counts batches from the middle of the epoch, and they are the first ones again."""
    nets = []
    for form, data in ((ManualFront, shuffled), (Own, numbered)):
        model = form(variant="saf", start_epoch=1, lag=1, trajectory_weight=5.0)
        save = ModelCheckpoint(dirpath=tmp_path / form.__name__, every_n_train_steps=2, save_top_k=-1)
        fitted(model, data=data(), max_epochs=1, enable_checkpointing=True, callbacks=[save])
        resumed = form(variant="saf", start_epoch=1, lag=1, trajectory_weight=5.0)
        checkpoint = next((tmp_path / form.__name__).glob("*step=2.ckpt"))
        trainer(max_epochs=2).fit(resumed, data(), ckpt_path=checkpoint, weights_only=True)
        nets.append(resumed.net)
    assert distance(*nets) == 0


@pytest.mark.slow
def test_shuffled_samples_are_recognized():
    """In the order of the sampler; and by numbers of the data set's own, whatever the sampler."""
    ours = fitted(ManualFront(variant="saf", **OPTIONS["saf"]), data=shuffled(), max_epochs=4)

    own = fitted(Own(variant="saf", **OPTIONS["saf"]), data=numbered(), max_epochs=4)
    assert distance(ours.net, own.net) == 0

    net, order = network(), DistributedSampler(rows(), num_replicas=1, rank=0, seed=3)
    optimizer, outputs, data = sgd(net.parameters()), {}, rows()
    for epoch in range(4):
        order.set_epoch(epoch)
        for batch in torch.tensor(list(order)).split(4):
            optimizer.zero_grad()
            loss = 0.0
            for i in batch.tolist():
                x, y = data[i]
                z = net(x.unsqueeze(0))
                loss = loss + F.cross_entropy(z, y.unsqueeze(0)) / len(batch)
                outputs[epoch, i] = z[0].detach().clone()
                if epoch >= 2:
                    loss = loss + 0.7 * reference.divergence(outputs[epoch - 2, i], z[0], 2.0) / len(batch)
            loss.backward()
            optimizer.step()
    assert distance(ours.net, net) < EXACT


def test_orders_that_cannot_be_asked_for_again_are_refused_before_anything_trains():
    model = ManualFront(variant="saf")
    for data in (
        DataLoader(rows(), batch_size=4, shuffle=True),
        {"a": loader(), "b": loader()},
    ):
        with pytest.raises(MisconfigurationException, match=r"sample_ids\(self, batch, batch_idx\).*mesa"):
            fitted(model, data=data, max_epochs=7)
    assert model.passes == []


def test_numbers_of_other_samples_are_refused():
    class Short(ManualFront):
        def sample_ids(self, batch, batch_idx):
            return torch.arange(2)

    with pytest.raises(ValueError, match=r"logits are of 4 samples.*\(2,\).*sample_ids"):
        fitted(Short(variant="saf"), max_epochs=7)  # at the first batch


@pytest.mark.parametrize("variant", ["mesa", slow("saf")])
def test_logits_that_are_not_caught_may_be_returned(variant):
    class ByHand(ManualFront):
        def training_step(self, batch, batch_idx):
            x, y = batch
            z = self.net(x)
            return {"loss": -z.log_softmax(1)[torch.arange(len(y)), y].mean(), "logits": z}

    with pytest.raises(MisconfigurationException, match=rf'variant="{variant}".*logits_per_sample'):
        fitted(ByHand(variant=variant, **OPTIONS[variant]), max_epochs=4)

    class Told(ByHand):
        def logits_per_sample(self, caught, output, batch, batch_idx):
            return output["logits"]

    model = fitted(Told(variant=variant, **OPTIONS[variant]), max_epochs=4)
    assert distance(model.net, by_hand(variant, epochs=4)) < EXACT


def test_mesa_leaves_buffers_metrics_and_random_draws_as_they_were():
    def norms():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3)).double()

    class Mixes(ManualFront):
        def training_step(self, batch, batch_idx):
            x, y = batch
            x.add_(0.01 * torch.randn(x.shape, dtype=x.dtype))  # in place, and at random
            return super().training_step([x, y], batch_idx)

    nothing = {"variant": "mesa", "trajectory_weight": 0.0, "start_epoch": 0}
    runs = []
    for options in (nothing, {"variant": "saf", "trajectory_weight": 0.0}):
        torch.manual_seed(7)
        model = fitted(Mixes(net=norms(), **options), data=loader(20), max_epochs=2)
        runs.append(model.net.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(runs[0].values(), runs[1].values()))
