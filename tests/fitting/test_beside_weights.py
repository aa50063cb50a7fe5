"""What a module holds beside its ``state_dict`` is found, and put back where it is."""

import copy
import enum
import math
from collections import deque

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

from lightning_al.fitting.beside_weights import BesideWeights, as_in, put_changes, unsaved_buffers


class Module(L.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer, self.drop = nn.Linear(2, 2), nn.Dropout(0.5)
        self.number, self.nan, self.word, self.nothing, self.flag = 1, math.nan, "a", None, False
        self.plain = torch.zeros(2)
        self.same = self.plain
        self.spread = torch.zeros(1).expand(3)
        self.records = []
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.register_buffer("absent", None, persistent=False)
        self.metrics = MetricCollection([MeanMetric()])


def changed(module):
    module.hparams.lr = 0.2
    module.drop.p, module.number, module.word, module.nothing, module.flag = 0.9, 2, "b", 3.0, True
    module.plain.add_(1)
    module.same = module.plain + 1
    module.spread = torch.ones(3)
    module.unsaved = torch.ones(2)
    module.kept.add_(1)
    module.records.append(1)
    module.metrics.update(5.0)
    with torch.no_grad():
        module.layer.weight.add_(1)
    return module


class Diverged(nn.Module):
    """Values of each kind, most of which are or become NaN."""

    def __init__(self):
        super().__init__()
        self.becomes, self.became, self.stays = 1.0, math.nan, math.nan
        self.of_numpy, self.array = np.float64(1.0), np.ones(2)
        self.plain, self.kept = torch.ones(2), torch.tensor([math.nan, 1.0])


def test_nan_is_another_value_than_a_number_and_the_same_as_nan():
    module = Diverged()
    before = BesideWeights(module)
    assert before.changes() == {}
    module.becomes, module.became, module.of_numpy = math.nan, 1.0, np.float64("nan")
    module.plain.fill_(math.nan)
    module.array.fill(math.nan)
    changes = before.changes()
    assert sorted(changes) == ["array", "became", "becomes", "of_numpy", "plain"]
    put_changes(resumed := Diverged(), changes)
    assert math.isnan(resumed.becomes)
    assert resumed.became == 1.0
    before.put_back(unless_set_since=before.present())
    assert (module.becomes, module.of_numpy, module.plain.tolist(), module.array.tolist()) == (1, 1, [1, 1], [1, 1])
    assert math.isnan(module.became)


def test_all_but_weights_and_records_is_put_back():
    module = Module()
    plain, unsaved, weights = module.plain, module.unsaved, module.layer.weight.clone()
    before = BesideWeights(module)
    assert before.changes() == {}
    changed(module)
    assert sorted(before.changes()) == sorted(
        ["hparams.lr", "drop.p", "number", "word", "nothing", "flag", "plain", "same", "spread", "unsaved"]
    )
    before.put_back()
    assert (module.hparams.lr, module.drop.p, module.number, module.word) == (0.1, 0.5, 1, "a")
    assert (module.nothing, module.flag, math.isnan(module.nan)) == (None, False, True)
    assert module.same is module.plain is plain
    assert module.unsaved is unsaved
    assert [t.tolist() for t in (plain, module.spread, unsaved)] == [[0, 0], [0, 0, 0], [0, 0]]
    assert torch.equal(module.layer.weight, weights + 1)
    assert module.kept.tolist() == [1, 1]
    assert module.records == [1]
    assert math.isnan(module.metrics.compute()["MeanMetric"])


def test_what_was_set_since_is_left_alone():
    module = Module()
    before = BesideWeights(module)
    changed(module)
    after = before.present()
    module.number, module.unsaved = 7, torch.full((2,), 7.0)
    module.plain.mul_(1.0)  # written to, and the same
    before.put_back(unless_set_since=after)
    assert (module.number, module.unsaved.tolist()) == (7, [7, 7])
    assert (module.word, module.plain.tolist()) == ("a", [0, 0])


def test_changes_go_into_another_module_of_the_kind(tmp_path):
    module = Module()
    before = BesideWeights(module)
    changed(module)
    torch.save(before.changes(), tmp_path / "changes.pt")
    other = Module()
    put_changes(other, torch.load(tmp_path / "changes.pt", weights_only=True))
    left = BesideWeights(other)
    expected = BesideWeights(module)
    assert left.present().keys() == expected.present().keys()
    put_changes(other, {"gone.number": 1, "forward": 1})
    assert (other.hparams.lr, other.number, other.unsaved.tolist()) == (0.2, 2, [1, 1])
    assert callable(other.forward)
    assert other.unsaved is not module.unsaved


def test_what_has_become_a_layer_is_left_alone():
    module = Module()
    before = BesideWeights(module)
    module.nothing = layer = nn.Linear(1, 1)
    before.put_back()
    assert module.nothing is layer


def test_tensors_of_inference_are_put_back_too():
    module = Module()
    with torch.inference_mode():
        module.plain = torch.ones(2)
    before = BesideWeights(module)
    with torch.inference_mode():
        module.plain.add_(1)
    before.put_back()
    assert module.plain.tolist() == [1, 1]


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_with_earlier_values(fails):
    module = Module()
    first = BesideWeights(module)
    changed(module)
    now = copy.deepcopy(BesideWeights(module).present())
    try:
        with as_in(module, first):
            assert (module.number, module.plain.tolist(), module.unsaved.tolist()) == (1, [0, 0], [0, 0])
            module.number = 5
            module.unsaved.add_(9)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    present = BesideWeights(module).present()
    assert {k: str(v) for k, v in present.items()} == {k: str(v) for k, v in now.items()}


def test_buffers_that_are_not_saved():
    module = Module()
    buffers = unsaved_buffers(module)
    assert list(buffers) == ["unsaved"]
    buffers["unsaved"].add_(1)
    assert module.unsaved.tolist() == [0, 0]


class Phase(str, enum.Enum):
    A = "a"
    B = "b"


def test_arrays_numbers_of_numpys_and_phases(tmp_path):
    def made():
        module = Module()
        module.counts, module.least, module.phase = np.ones(3, dtype=np.int64), np.float32(2), Phase.A
        module.mean, module.names = 0.0, np.array(["a"])
        return module

    module = made()
    before, counts = BesideWeights(module), module.counts
    assert before.changes() == {}
    module.counts[1] += 2
    module.least, module.mean, module.phase = np.float32(1), np.float64(0.5), Phase.B
    torch.save(before.changes(), tmp_path / "changes.pt")
    other = made()
    put_changes(other, torch.load(tmp_path / "changes.pt", weights_only=True))
    assert (other.counts.tolist(), other.counts.dtype) == ([1, 3, 1], np.int64)
    assert [type(v) for v in (other.counts, other.least, other.mean)] == [np.ndarray, np.float32, np.float64]
    assert (other.least, other.mean, other.phase is Phase.B) == (1, 0.5, True)
    before.put_back()
    assert module.counts is counts
    assert (counts.tolist(), module.least, module.mean, module.phase) == ([1, 1, 1], 2, 0.0, Phase.A)
    module.counts = np.zeros(5)
    before.put_back()
    assert module.counts is counts


def test_what_a_fit_sets_for_the_first_time_is_taken_away(tmp_path):
    module = Module()
    before = BesideWeights(module)
    module.center, module.layer.seen = torch.ones(2), 3
    module.register_buffer("made", torch.ones(1), persistent=False)
    del module.word
    after = before.present()
    torch.save(before.changes(), tmp_path / "changes.pt")
    other = Module()
    put_changes(other, torch.load(tmp_path / "changes.pt", weights_only=True))
    assert (other.center.tolist(), other.layer.seen, other.made.tolist()) == ([1, 1], 3, [1])
    with as_in(module, before):
        assert not hasattr(module, "center")
    assert (module.center.tolist(), module.made.tolist()) == ([1, 1], [1])
    module.mine = 5  # by the user, since
    before.put_back(unless_set_since=after)
    assert [hasattr(module, name) for name in ("center", "made", "mine")] == [False, False, True]
    assert not hasattr(module.layer, "seen")
    assert module.word == "a"


class Annealer:
    def __init__(self):
        self.beta = 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.records.append(1),
        lambda m: m.state.update(t=0.9),
        lambda m: m.bank[0].add_(1),
        lambda m: setattr(m.annealer, "beta", 0.5),
    ],
)
def test_objects_that_changed_are_named(change):
    module = Module()
    module.state, module.bank, module.annealer = {"t": 1.0}, deque([torch.zeros(2)]), Annealer()
    before = BesideWeights(module)
    assert before.changed_objects() == []
    change(module)
    assert len(before.changed_objects()) == 1
    assert before.changed_objects()[0] in ("records", "state", "bank", "annealer")


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_weights_of_recurrent_layers_are_no_records(kind):
    module = Module()
    module.recurrent = kind(2, 2, batch_first=True)
    module.recurrent.seen = []  # the user's
    before = BesideWeights(module)
    with torch.no_grad():
        module.recurrent.weight_hh_l0.add_(1)
    module.recurrent.flatten_parameters()
    assert before.changed_objects() == []
    module.recurrent.seen.append(1)
    assert before.changed_objects() == ["recurrent.seen"]


def test_what_a_fit_sets_over_a_value_of_the_class_is_put_back():
    class Annealed(L.LightningModule):
        temperature = 1.0
        best = None

    module, other = Annealed(), Annealed()
    before = BesideWeights(module)
    module.temperature, module.best = 0.25, torch.ones(2)
    changes = before.changes()
    assert set(changes) == {"temperature", "best"}
    put_changes(other, {**changes, "forward": 1, "current_epoch": 3})  # a method and a property are none
    assert other.temperature == 0.25
    assert torch.equal(other.best, torch.ones(2))
    assert callable(other.forward)
    before.put_back()
    assert (module.temperature, Annealed.temperature) == (1.0, 1.0)
