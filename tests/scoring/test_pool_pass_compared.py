"""Scores of a pass that a later batch shows to be wrong, and models that fold weights whenever they are looked at."""

import logging

import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import SAAL, EntropyGradNorm
from tests.helpers import reference
from tests.helpers.folding import FoldedByAddition, FoldedByNewMemory, FoldedByNewParameter, KeptInADict
from tests.helpers.projects import SIZE, Data, Net, make_data, make_trainer


class ByTheBatch(Net):
    """Shrinks all samples of a batch that holds a large one."""

    def forward(self, x):
        return self.net(x / 3 if x.amax() > 4 else x)


class LargeLast(Data):
    """One sample, of the last batch of the pool, is large."""

    def setup(self, stage):
        super().setup(stage)
        x = self.train.tensors[0]
        x.clamp_(-2, 2)
        x[SIZE - 1] *= 100


class Seen(EntropyGradNorm):
    def __init__(self):
        super().__init__()
        self.rows_of_queries = []
        self.weights = []

    def select(self, rows, k, **options):
        self.rows_of_queries.append({name: rows[name].clone() for name in ("index", "score")})
        return super().select(rows, k, **options)

    def on_query_start(self, trainer, module, loop):
        self.weights.append({name: t.clone() for name, t in module.state_dict().items()})


def test_a_pass_begins_anew_when_a_later_batch_is_of_another_kind(tmp_path, caplog):
    acquisition, model = Seen(), ByTheBatch()
    loop = ActiveLearningLoop(
        model, LargeLast(), initial=10, query_size=5, rounds=2, pool_batch_size=10, dirpath=tmp_path / "al"
    )
    with caplog.at_level(logging.WARNING, "lightning_al"):
        loop.run(make_trainer(tmp_path, acquisition=acquisition))
    assert len([r for r in caplog.records if "a pass over the pool begins anew" in r.getMessage()]) == 1
    x = make_data()[0].clamp(-2, 2)
    x[SIZE - 1] *= 100
    for rows, weights in zip(acquisition.rows_of_queries, acquisition.weights, strict=True):
        net = ByTheBatch()
        net.load_state_dict(weights)
        want = reference.gradient_norm(net, x[rows["index"]])
        torch.testing.assert_close(rows["score"].double(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize("layer", [FoldedByAddition, FoldedByNewMemory, FoldedByNewParameter, KeptInADict])
@pytest.mark.parametrize("acquisition", [SAAL, EntropyGradNorm])
def test_queries_and_evaluations_leave_a_folding_model_as_it_was(tmp_path, layer, acquisition):
    class Folding(Net):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 5), layer(), nn.Linear(5, 3)).double()

        def on_fit_end(self):
            fitted[:] = self.now()

        def now(self):
            flags = [getattr(self.net[1], "merged", None), self.training]
            return [[t.clone() for t in (*self.parameters(), *self.buffers())], flags]

    class Looks(acquisition):
        def on_query_start(self, trainer, module, loop):
            looked.append(str(module.now()) == str(fitted))
            self.before = str(module.now())

        def on_query_end(self, trainer, module, loop):
            looked.append(str(module.now()) == self.before)

    class NoValidation(Data):
        def val_dataloader(self):
            return []  # in a fit, Lightning itself leaves folded weights folded

    fitted, looked = [], []
    loop = ActiveLearningLoop(
        Folding(), NoValidation(), initial=10, query_size=5, rounds=1, evaluate="test", dirpath=tmp_path / "al"
    )
    loop.run(make_trainer(tmp_path, acquisition=Looks()))
    assert looked == [True, True]
