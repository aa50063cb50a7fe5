"""Further fits: kills, early stopping; members on devices and in other precisions."""

from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from lightning_al.acquisition import QueryByCommittee
from lightning_al.acquisition.committee.members import moved_to
from lightning_al.inference.calling import tensors_of
from lightning_al.inference.outputs import plain_outputs
from tests.helpers.committee import Kept, Killer, killed_and_resumed, run, same


@pytest.mark.parametrize("reset", ["continue", pytest.param("initial", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("after", "refitted"), [(2, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((1, 4), (3, 2)))]
)
def test_a_kill_loses_at_most_one_member_s_fit(tmp_path, reset, after, refitted):
    """Two further fits in each of two rounds; the killed one is made again."""
    options = {"loop": {"reset": reset}}

    def kill(folder):
        acquisition = Kept(3)
        acquisition.kill_after = after
        run(folder, acquisition, **options)

    again = killed_and_resumed(tmp_path, partial(Kept, 3), kill, **options)
    assert again._fits == refitted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batches", "refitted"),
    [(6 + 6 + 3, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((6 + 3, 4), (6 + 6 + 6 + 9 + 9 + 1, 1)))],
)
def test_killed_in_a_member_s_fit(tmp_path, batches, refitted):
    again = killed_and_resumed(
        tmp_path, partial(Kept, 3), lambda folder: run(folder, QueryByCommittee(3), Killer(batches))
    )
    assert again._fits == refitted


@pytest.mark.slow
def test_killed_after_the_members_were_fitted(tmp_path):
    class Stops(QueryByCommittee):
        def select(self, *args, **kwargs):
            raise KeyboardInterrupt

    again = killed_and_resumed(tmp_path, partial(Kept, 3), lambda folder: run(folder, Stops(3)))
    assert again._fits == 2  # of the second round


def test_early_stopping_stops_a_member_too(tmp_path):
    """Each by what it has seen, as if it were alone."""

    class Epochs(L.Callback):
        def __init__(self):
            self.epochs = []

        def on_round_start(self, *args):
            pass

        def on_train_end(self, trainer, pl_module):
            self.epochs.append(trainer.current_epoch)

    stop, epochs = EarlyStopping("val_acc", mode="max", patience=1), Epochs()
    run(tmp_path, QueryByCommittee(4), stop, epochs, max_epochs=12, loop={"rounds": 1})
    assert len(epochs.epochs) == 5
    assert len(set(epochs.epochs)) > 1
    assert max(epochs.epochs) < 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_members_run_in_full_precision_and_are_not_written_to(dtype):
    class Counts(torch.nn.Module):
        """Writes to a buffer in every forward, and shrinks the rows it looks up."""

        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 3, max_norm=1.0)
            self.out = torch.nn.Linear(3, 4)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.out(self.table(x)) * self.calls

    torch.manual_seed(0)
    model, other = Counts().to(dtype), Counts().to(dtype)
    torch.nn.init.normal_(other.table.weight, std=9.0)
    x = torch.arange(6)
    member, before = tensors_of(other), tensors_of(model)
    kept = {name: t.clone() for name, t in member.items()}
    got = plain_outputs(model, x, tensors=member)
    assert got.dtype == torch.float32
    assert torch.allclose(got, plain_outputs(other, x))
    assert torch.equal(got, plain_outputs(model, x, tensors=member))
    assert same(member, kept)
    assert same(tensors_of(model), before)


def test_members_are_moved_once_and_stay_away_where_memory_is_short(monkeypatch):
    states = [None, {"a": torch.ones(3)}, {"a": torch.ones(3)}]
    assert moved_to(torch.device("cpu"), states) is states
    moved = moved_to(torch.device("meta"), states)
    assert moved[0] is None
    assert [state["a"].device.type for state in moved[1:]] == ["meta"] * 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 24 - 1, 10**9))
    assert moved_to(torch.device("cuda:0"), states) is states
