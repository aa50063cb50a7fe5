"""A ``forward``, or a task, that works on its batch in place, as one may: each pass over it begins with what came."""

import pytest
import torch

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import Entropy, Margin
from lightning_al.data.samplers import BlockSampler
from lightning_al.oracle import DatasetOracle
from lightning_al.scoring.pool_pass import score_pool
from tests.helpers.projects import Data, Net, make_data, make_trainer
from tests.helpers.registry import REGISTRY, Case
from tests.helpers.scene import Learner, prepare

SCORED = [name for name in REGISTRY if name != "Random"]


def in_place(cls):
    class InPlace(cls):
        def forward(self, x):
            return super().forward(x.sub_(0.5).div_(0.25))

    return InPlace


def out_of_place(cls):
    class OutOfPlace(cls):
        def forward(self, x):
            return super().forward((x - 0.5) / 0.25)

    return OutOfPlace


@pytest.mark.few(8)
@pytest.mark.parametrize("name", SCORED)
def test_every_pass_of_an_acquisition_begins_with_the_same_inputs(name, tmp_path):
    oracle, options = REGISTRY[name]
    case = Case(name, oracle, options[0])
    of_each = []
    for how in (out_of_place, in_place):
        torch.manual_seed(0)
        model = how(case.model)(batch_norm=True, dropout=0.3)
        if case.model is Learner:
            model.predict_losses(make_data(2)[0])
        prepare(model).eval()
        acquisition = case.make(tmp_path)
        acquisition.bind(ClassificationTask(), DatasetOracle())
        x, y = make_data(12)
        torch.manual_seed(1)
        with torch.inference_mode():
            of_each.append(acquisition.rows(model, (x, y)))
        assert torch.equal(x, make_data(12)[0])
    rows, rows_in_place = of_each
    assert all(torch.equal(rows[key], rows_in_place[key]) for key in rows)


class Pops(ClassificationTask):
    def inputs(self, batch):
        return batch.pop("x") if isinstance(batch, dict) else batch[0]

    def targets(self, batch):
        return batch["y"] if isinstance(batch, dict) else batch[1]

    def check(self, model, batch):
        super().check(model, batch)
        batch.clear()


def by_name(samples):
    x, y = zip(*samples)
    return {"x": torch.stack(x), "y": torch.stack(y)}


def test_acquisitions_that_share_a_pass_and_the_check_before_them(tmp_path):
    model, data = in_place(Net)(), Data(collate_fn=by_name)
    trainer = make_trainer(tmp_path)
    loop = ActiveLearningLoop(model, data, initial=4, query_size=2, task=Pops())
    loop.datamodule.begin(trainer)
    loop.datamodule.open(trainer, model)
    acquisitions = [Entropy(), Margin(), Entropy()]
    for acquisition in acquisitions:
        acquisition.bind(Pops(), DatasetOracle())
    indices = torch.arange(10)
    sampler = BlockSampler(range(10), multiple=1, num_replicas=1, rank=0)
    loop.datamodule.pool_pass(indices, 1)
    rows = score_pool(
        trainer, model, loop.datamodule, indices, acquisitions=acquisitions, sampler=sampler, seed=0, check=Pops().check
    )
    with torch.no_grad():
        p = Net()((make_data()[0][:10] - 0.5) / 0.25).softmax(1)
    entropy = -(p * p.log()).sum(1)
    for each in (rows[0], rows[2]):
        assert torch.allclose(each["score"], entropy, atol=1e-12)
    best = p.sort(1, descending=True).values
    gap = best[:, 0] - best[:, 1]
    assert rows[1]["score"].argsort().tolist() == gap.argsort(descending=True).tolist()
