import collections
import errno
import functools
import pickle
from enum import Enum
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from lightning_al._compat import connect
from lightning_al.storage.checkpoints import hyperparameters, read_checkpoint, save_checkpoint
from lightning_al.zoo import Classifier


class Colour(Enum):
    RED = 1


class Bag(dict):
    def __init__(self, **values):
        super().__init__(values)
        self.more = 3


class Several(list):
    pass


def saved(folder, **more):
    net = nn.Sequential(nn.Linear(3, 2).bfloat16(), nn.BatchNorm1d(2))
    state = net.state_dict() | {"tied": net[0].weight, "parameter": nn.Parameter(torch.ones(2).double())}
    torch.save({"state_dict": collections.OrderedDict(state), **more}, folder / "x.ckpt")
    return state


def test_weights_beside_objects_of_any_kind(tmp_path):
    anything = {
        "class": nn.Linear,
        "function": len,
        "path": Path("x"),
        "partial": functools.partial(torch.optim.SGD, lr=0.1),
        "enum": Colour.RED,
        "bag": Bag(a=1),
        "several": Several([1, Bag(b=2)]),
        "set": {Colour.RED},
        "dtype": torch.half,
        "net": nn.Linear(2, 2),
        "method": Path("x").joinpath,
        "counter": collections.Counter("aab"),
        "size": torch.Size([2]),
        "generator": torch.device("cpu"),
        "default": collections.defaultdict(list, {1: [2]}),
        "deque": collections.deque([1]),
    }
    state = saved(tmp_path, hyper_parameters=anything)
    found = read_checkpoint(tmp_path / "x.ckpt")["state_dict"]
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps({"state_dict": {}})])
def test_no_checkpoint(tmp_path, data):
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(ValueError, match=r"x.ckpt is no checkpoint, or is damaged"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({"hyper_parameters": {"width": 3, "layers": [1, (2.5, None)], "how": {"a": True, "b": "c"}}}, None),
        ({"hyper_parameters": {"width": 3, "net": nn.Linear(1, 1), "in": [Path("x")]}}, {"width": 3}),
        ({"hyper_parameters": {"width": 3, "t": torch.ones(1)}}, {"width": 3}),
        ({"hyper_parameters": {"width": 3}, "hparams_name": "kwargs"}, {"width": 3}),
        ({"hyper_parameters": {"width": 3}, "hparams_name": "config"}, {"config": {"width": 3}}),
        ({"hyper_parameters": Several([1])}, {}),
        ({}, {}),
    ],
    ids=["plain", "objects", "a tensor", "several", "in one", "of another kind", "none"],
)
def test_hyperparameters_of_plain_values(tmp_path, kept, expected):
    saved(tmp_path, **kept)
    assert hyperparameters(tmp_path / "x.ckpt") == (kept["hyper_parameters"] if expected is None else expected)


def test_a_plain_state_has_no_hyperparameters(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "x.ckpt")
    assert hyperparameters(tmp_path / "x.ckpt") == {}


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    class Full(pl.Trainer):
        def save_checkpoint(self, path, *args, **kwargs):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "folder" / "state.ckpt"
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = pl.Trainer(**options)
    connect(trainer, Classifier(nn.Linear(2, 3), 3))
    save_checkpoint(trainer, path)
    before = path.read_bytes()
    assert read_checkpoint(path)["state_dict"]["net.bias"].shape == (3,)
    with pytest.raises(OSError, match="could not be written"):
        save_checkpoint(Full(**options), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["state.ckpt"]
