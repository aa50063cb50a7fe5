"""Two processes on the CPU, against the loop written by hand on the concatenated batch."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Sampler

from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from tests.helpers.loss_reference import EPOCHS, WIDTH, Front, Plain, copies, hand, made, trainer
from tests.helpers.ranks import Leave
from tests.helpers.sam_reference import distance, rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ROWS, BATCH = 24, 8


class PairsTogether(Sampler):
    """Of each 8 rows, rank 0 gets 0, 1, 6, 7 and rank 1 the others: the pairs of the whole batch stay together."""

    def __iter__(self):
        mine = ([0, 1, 6, 7], [2, 3, 4, 5])[dist.get_rank()]
        for start in range(0, ROWS, BATCH):
            yield [start + i for i in mine]

    def __len__(self):
        return ROWS // BATCH


def fit(model, sampler=None, **kwargs):
    # No `find_unused_parameters`: every parameter of the module has a gradient in every step.
    strategy = DDPStrategy(start_method="fork", process_group_backend="gloo")
    data = DataLoader(rows(ROWS), batch_sampler=sampler or PairsTogether())
    t = trainer(max_epochs=EPOCHS, devices=2, strategy=strategy, callbacks=[Leave()], use_distributed_sampler=False)
    t.fit(model, data)
    return model


def whole_batches():
    x, y = rows(ROWS).tensors
    return [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]


class Manual(SAMMixin, Front):
    pass


class Auto(LossPredictionMixin, AutoSAMMixin, Plain):
    pass


@pytest.mark.few(1)
@pytest.mark.parametrize(("form", "options"), [(Front, {}), (Manual, {"rho": 0.3}), (Auto, {"rho": 0.3})])
def test_two_processes_are_one_with_twice_the_batch(form, options):
    model = made(form(loss_width=WIDTH, **options))
    net, module = copies(model)
    fit(model)
    hand(net, module, whole_batches(), **options)
    assert distance(model.net, net) < 1e-10
    assert distance(model.loss_prediction, module) < 1e-10


class OneEach(Sampler):
    """Batches of a single row, which have no pair, then of three."""

    def __iter__(self):
        rank = dist.get_rank()
        yield [rank]
        yield [3 * rank + i for i in range(3)]

    def __len__(self):
        return 2


def test_made_in_the_processes_and_batches_of_one():
    model = fit(Front(loss_width=WIDTH), OneEach())
    assert model.loss_prediction.layers == ["net.1"]  # came back with the weights
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert torch.is_tensor(model.predict_losses(torch.zeros(2, 5, dtype=torch.float64)))
