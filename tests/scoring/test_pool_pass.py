import random
import tempfile

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import BADGE, SAAL, CoreSet, Entropy, ExpectedGradNorm, TypiClust
from lightning_al.storage import rows as storage
from tests.helpers.marks import slow
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks, start


class Probe(L.Callback):
    """Compares what there was when the query began with what there is when it ends."""

    def state(self, trainer, module):
        return {
            "flags": [m.training for m in module.modules()],
            "grad": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
            "requires_grad": [p.requires_grad for p in module.parameters()],
            "values": [t.clone() for t in module.state_dict().values()],
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()],
            "instance": set(vars(module)),
            "callbacks": list(trainer.callbacks),
            "rng": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),
        }

    def on_query_start(self, trainer, module, loop):
        module.net[3].eval()  # a flag of the user's own
        module.net[0].weight.grad = torch.ones_like(module.net[0].weight)
        module.net[0].bias.requires_grad_(False)
        self.before = self.state(trainer, module)

    def on_query_end(self, trainer, module, loop):
        after = self.state(trainer, module)
        assert str(self.before) == str(after)
        module.net[0].bias.requires_grad_(True)
        checked.append(True)


checked = []


def refuse(*args, **kwargs):
    raise AssertionError("the project's own prediction hook ran")


def test_the_modules_own_hooks_around_predictions_do_not_run_while_scoring(tmp_path):
    hooks = [name for name in dir(L.LightningModule) if name.startswith("on_predict_")]
    assert len(hooks) == 7
    silent = type("Hooked", (Net,), dict.fromkeys(hooks, refuse))()
    plain = ActiveLearningLoop(Net(), Data(), initial=8, query_size=4, rounds=1).run(make_trainer(tmp_path))
    trainer = make_trainer(tmp_path)
    hooked = ActiveLearningLoop(silent, Data(), initial=8, query_size=4, rounds=1).run(trainer)
    assert picks(hooked) == picks(plain)
    with pytest.raises(AssertionError, match="prediction hook ran"):  # the user's own predictions have them
        trainer.predict(silent, torch.utils.data.DataLoader(torch.zeros(4, 4).double()))


def test_writers_that_the_module_brings_do_not_see_the_pass(tmp_path):
    class Writer(BasePredictionWriter):
        write_on_batch_end = write_on_epoch_end = on_predict_start = refuse

    class Brings(Net):
        def configure_callbacks(self):
            return [Writer("batch_and_epoch")]

    loop = ActiveLearningLoop(Brings(), Data(), initial=8, query_size=4, rounds=1)
    assert len(loop.run(make_trainer(tmp_path))) == 2


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [SAAL, CoreSet])
@pytest.mark.parametrize("part", ["module", "layers", "layers in place"])
def test_compiled_modules_are_scored_as_they_were_written(tmp_path, acquisition, part):
    def run(compiles):
        model = Net()
        if compiles and part == "layers":
            model.net = torch.compile(model.net, backend="eager")
        elif compiles and part == "layers in place":
            model.net.compile(backend="eager")
        elif compiles:
            model = torch.compile(model, backend="eager")
        loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1)
        return picks(loop.run(make_trainer(tmp_path, acquisition=acquisition(), max_epochs=1)))

    assert run(True) == run(False)


@pytest.mark.few(2)
@pytest.mark.parametrize("acquisition", [Entropy, SAAL, ExpectedGradNorm])
def test_nothing_is_left_behind(tmp_path, acquisition):
    class Noisy(Data):
        """Draws from every global generator when a sample is read."""

        def pool_dataset(self):
            class Reads(torch.utils.data.TensorDataset):
                def __getitem__(self, i):
                    return torch.rand(()) * np.random.rand() * random.random() * 0 + self.tensors[0][i], 0

            return Reads(*make_data())

    checked.clear()
    model = Net(batch_norm=True, dropout=0.3)
    loop = ActiveLearningLoop(model, Noisy(), initial=6, query_size=4, rounds=2, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, Probe(), acquisition=acquisition()))
    assert checked == [True, True]


def test_other_callbacks_and_the_models_own_predict_step_do_not_see_the_pass(tmp_path):
    class Writer(BasePredictionWriter):
        def __init__(self):
            super().__init__("batch")

        def write_on_batch_end(self, *args):
            raise AssertionError("wrote scores")

    def own(batch, batch_idx):
        raise AssertionError("ran")

    model = Net()
    model.predict_step = own
    loop = ActiveLearningLoop(model, Data(), initial=6, query_size=4, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, Writer()))
    assert model.predict_step is own


def test_scores_are_those_of_a_plain_loop(tmp_path):
    model = Net(batch_norm=True)

    class Check(L.Callback):
        def on_query_end(self, trainer, module, loop):
            x, _ = make_data()
            result = loop.history[-1]
            training = [m.training for m in module.modules()]
            module.eval()
            with torch.no_grad():
                for index, score in zip(result.picked, result.scores, strict=True):
                    p = module(x[index : index + 1]).softmax(1)[0]
                    assert score == pytest.approx(float(-(p * p.log()).sum()), abs=1e-9)
            for m, t in zip(module.modules(), training, strict=True):
                m.training = t

    loop = ActiveLearningLoop(model, Data(), initial=6, query_size=54, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, Check()))


def test_bf16_scores_are_float32(tmp_path):
    class Half(Net):
        def __init__(self):
            super().__init__()
            self.float()

        def forward(self, x):
            return super().forward(x.float())

    loop = ActiveLearningLoop(Half(), Data(), initial=6, query_size=54, rounds=1, dirpath=tmp_path / "c")
    trainer = make_trainer(tmp_path, acquisition=SAAL(selection="top"), precision="bf16-mixed", max_epochs=1)
    scores = loop.run(trainer)[0].scores
    assert len(set(scores)) == 54  # bfloat16 would have made ties


# -- where rows are kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acquisition", [slow(SAAL), slow(BADGE), CoreSet, slow(TypiClust)])
@pytest.mark.parametrize("processes", [1, slow(2)])
def test_rows_in_files_are_picked_from_alike(tmp_path, monkeypatch, acquisition, processes):
    def run(name):
        strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
        trainer = make_trainer(
            tmp_path, acquisition=acquisition(), strategy=strategy, devices=devices, max_epochs=1
        )  # fmt: skip
        loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=5, rounds=1, dirpath=tmp_path / name)
        return picks(loop.run(trainer))

    memory = run("memory")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    made = []
    monkeypatch.setattr(storage, "LIMIT", 7)
    monkeypatch.setattr(torch, "from_file", lambda *a, f=torch.from_file, **o: made.append(a) or f(*a, **o))
    assert run("files") == memory
    assert made or processes > 1
    assert not [p for p in (tmp_path / "temporary").iterdir() if p.name.startswith("lightning_al")]


def test_which_scores_are_not_finite(tmp_path):
    x, _ = make_data()
    poison = tuple(x[17].tolist())

    class Net2(Net):
        def forward(self, x):
            bad = torch.tensor([tuple(row.tolist()) == poison for row in x])
            return torch.where(bad[:, None], torch.nan, super().forward(x))

    with pytest.raises(ValueError, match=r"for 1 of 54 samples, dataset indices \[17\]"):
        start(tmp_path, model=Net2(), initial=[i for i in range(7) if i != 17][:6])
