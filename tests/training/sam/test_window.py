"""The batches of one step: whole windows, cut ones, and those with a batch that is skipped."""

import math

import pytest

from tests.helpers.sam_reference import (
    BATCHES,
    EXACT,
    AutoFront,
    ManualFront,
    distance,
    expected,
    fitted,
    hand_sam,
    loader,
    network,
    sgd,
    trainer,
)


@pytest.mark.parametrize("n", [2, 4, 10])
def test_accumulation_is_of_the_whole_window_also_the_last_incomplete_one(n):
    by_hand = expected(n=n)
    manual, auto = ManualFront(accumulate_grad_batches=n), AutoFront()
    fit = trainer()
    fit.fit(manual, loader())
    assert fit.global_step == 2 * math.ceil(BATCHES / n)
    fitted(auto, accumulate_grad_batches=n)
    assert distance(manual.net, by_hand) < EXACT
    assert distance(auto.net, by_hand) < EXACT
    assert distance(by_hand, expected()) > 1e-3


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_limit_train_batches_ends_the_window(form):
    accumulation = {"accumulate_grad_batches": 2}
    manual = form is ManualFront
    model = form(**accumulation) if manual else form()
    fitted(model, max_epochs=1, limit_train_batches=3, **({} if manual else accumulation))
    net = network()
    hand_sam(net, list(loader())[:3], sgd, n=2)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize("skip_last", [False, True])
def test_a_step_that_returns_none_is_skipped(form, skip_last):
    skipped = 3 if skip_last else 2  # in windows of two: the last of the second, or its first

    class Net(form):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == skipped else {"loss": loss, "extra": 1}

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    fitted(model, max_epochs=1, **({} if manual else {"accumulate_grad_batches": 2}))
    batches = list(loader())
    net = network()
    optimizer = sgd(net.parameters())
    kept = next(b for i, b in enumerate(batches) if i in (2, 3) and i != skipped)
    for window in (batches[:2], [kept], batches[4:]):
        hand_sam(net, window, lambda _: optimizer, n=2)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_an_epoch_cut_short_leaves_nothing_to_the_next(form):
    class Net(form):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 3 else None

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    fitted(model, **({} if manual else {"accumulate_grad_batches": 2}))
    net = network()
    hand_sam(net, list(loader())[:2], sgd, n=2, epochs=2)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_a_second_fit_forgets_the_window_of_an_interrupted_one(form):
    class Net(form):
        broken = True

        def training_step(self, batch, batch_idx):
            if batch_idx == 1 and self.broken:
                raise KeyError("user")
            return super().training_step(batch, batch_idx)

    manual = form is ManualFront
    options = {} if manual else {"accumulate_grad_batches": 3}
    model = Net(accumulate_grad_batches=3) if manual else Net()
    with pytest.raises(KeyError):
        fitted(model, **options)
    model.broken = False
    fitted(model, **options)
    assert distance(model.net, expected(n=3)) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_a_validation_inside_a_window_leaves_its_gradients(form):
    class Net(form):
        def validation_step(self, batch, batch_idx):
            pass

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    trainer(val_check_interval=3, **({} if manual else {"accumulate_grad_batches": 2})).fit(model, loader(), loader())
    assert distance(model.net, expected(n=2)) < EXACT
