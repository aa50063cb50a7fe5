"""What is not in a ``state_dict`` is the same whether a campaign runs in one go or was stopped anywhere."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import EntropyGradNorm, QueryByCommittee
from lightning_al.fitting import RepeatedFit
from tests.helpers.fresh_fits import Labelled, Memory, Ordered, Trace
from tests.helpers.projects import Data, Net, make_trainer, picks


class Killed(Exception):
    pass


class KilledAt(L.Callback):
    """Ends the process, as it were, in a stage of round 1."""

    def __init__(self, stage):
        self.stage, self.round = stage, -1

    def on_round_start(self, trainer, pl_module, loop):
        self.round += 1

    def on_train_epoch_start(self, trainer, pl_module):
        self._kill("fit", trainer.current_epoch == 2)

    def on_query_start(self, trainer, pl_module, loop):
        self._kill("query")

    def on_round_end(self, trainer, pl_module, loop):
        self._kill("end")

    def _kill(self, stage, here=True):
        if self.stage == stage and self.round == 1 and here:
            raise Killed


class Drifts(Net):
    """Its outputs depend on what it gathers beside its weights; the first values are other ones in each process."""

    made = 0

    def __init__(self):
        super().__init__()
        self.temperature, self.backbone = 2.0, self.net[0]
        self.plain = torch.zeros(3, dtype=torch.float64)
        Drifts.made += 1
        first = torch.randn(3, generator=torch.Generator().manual_seed(Drifts.made), dtype=torch.float64)
        self.register_buffer("prior", first, persistent=False)

    def training_step(self, batch, batch_idx):
        shares = nn.functional.one_hot(batch[1], 3).double().mean(0)
        self.temperature *= 0.97
        self.plain = 0.9 * self.plain + 0.1 * shares
        self.prior.mul_(0.9).add_(0.1 * shares)
        return super().training_step(batch, batch_idx)

    def forward(self, x):
        return super().forward(x) / self.temperature + 3 * self.prior - self.plain

    def configure_optimizers(self):
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.01)


def campaign(folder, *callbacks, resume=False, reset="initial", acquisition=None):
    model = Drifts()
    loop = ActiveLearningLoop(
        model, Data(), initial=8, query_size=6, rounds=2, reset=reset, dirpath=folder / "campaign"
    )
    trainer = make_trainer(folder, *callbacks, acquisition=acquisition, max_epochs=3)
    history = loop.run(trainer, resume=resume)
    state = [*model.state_dict().values(), model.prior, model.plain]
    return (
        picks(history),
        [r.metrics for r in history],
        [t.tolist() for t in state],
        (model.temperature, trainer.global_step, loop.campaign_step),
    )


@pytest.fixture(autouse=True)
def _checkpoints_at_once(monkeypatch):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    known = {}

    def run(reset):
        if reset not in known:
            Drifts.made = 0
            known[reset] = campaign(tmp_path_factory.mktemp(reset), reset=reset)
        return known[reset]

    return run


class Epochs(L.Callback):
    """Takes down which epochs are trained, in a list of the caller's."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)


@pytest.mark.few(2)
@pytest.mark.parametrize("stage", ["fit", "query", "end"])
@pytest.mark.parametrize("reset", ["initial", "continue"])
def test_a_killed_campaign_goes_on_as_if_it_had_not_been(tmp_path, whole, reset, stage):
    expected, epochs = whole(reset), []
    Drifts.made = 0
    with pytest.raises(Killed):
        campaign(tmp_path, KilledAt(stage), reset=reset)
    assert campaign(tmp_path, Epochs(epochs), resume=True, reset=reset) == expected
    assert epochs == ([2] if stage == "fit" else []) + [0, 1, 2]  # round 1 where it was, and round 2


@pytest.mark.few(1)
@pytest.mark.parametrize("stage", ["fit", "query"])
@pytest.mark.parametrize("reset", ["initial", "continue"])
def test_thawed_layers_are_scored_as_such_after_a_kill(tmp_path, reset, stage):
    """A new process must know what was thawed: the norm of the gradient is that of all that trains."""

    def run(folder, *callbacks, resume=False):
        thaws = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01)
        return campaign(folder, thaws, *callbacks, resume=resume, reset=reset, acquisition=EntropyGradNorm())

    epochs = []
    Drifts.made = 0
    expected = run(tmp_path / "whole")
    Drifts.made = 0
    with pytest.raises(Killed):
        run(tmp_path / "killed", KilledAt(stage))
    assert run(tmp_path / "killed", Epochs(epochs), resume=True) == expected
    assert epochs == ([2] if stage == "fit" else []) + [0, 1, 2]


def test_layers_are_as_the_fit_left_them_when_samples_are_scored(tmp_path):
    """Evaluation freezes them again in Lightning, whose finetuning sets every stage up so."""
    seen = []

    class Sees(L.Callback):
        def on_query_start(self, trainer, pl_module, loop):
            seen.append(pl_module.backbone.weight.requires_grad)

    thaws = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01)
    campaign(tmp_path, thaws, Sees())
    assert seen == [True, True]


def test_thawed_layers_go_on_with_what_their_optimizer_gathered(tmp_path):
    """They join an optimizer in the course of each fit, in another order than in it."""
    ends, joined = [], []

    class Sees(L.Callback):
        def on_round_start(self, trainer, pl_module, loop):
            pass

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 0:
                joined.append(self.moments(trainer, pl_module))

        def on_train_end(self, trainer, pl_module):
            ends.append(self.moments(trainer, pl_module))

        @staticmethod
        def moments(trainer, pl_module):
            state = trainer.optimizers[0].state
            assert all(isinstance(p, nn.Parameter) for p in state)
            return {n: state[p]["exp_avg"].tolist() for n, p in pl_module.named_parameters() if p in state}

    thaws = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01)
    campaign(tmp_path, thaws, Sees(), reset="continue")
    names = {"net.0.weight", "net.0.bias", "net.4.weight", "net.4.bias"}
    head = {name for name in names if name.startswith("net.4")}
    assert ends[0].keys() == names
    first, second = joined[3], joined[4]  # of round 1
    assert first == {name: ends[0][name] for name in head}
    assert {name: second[name] for name in names - head} == {name: ends[0][name] for name in names - head}


def test_a_round_that_continues_is_a_new_fit_with_the_gathered_momentum(tmp_path):
    trace = Trace()
    trainer = make_trainer(tmp_path, trace, logger=Memory())
    loop = ActiveLearningLoop(
        Net(), Ordered(), initial=9, query_size=5, rounds=1, reset="continue", dirpath=tmp_path / "campaign"
    )
    loop.run(trainer)
    state = trace.momenta[1][0]
    assert len(state["state"]) == 4

    class Momentum(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            trainer.optimizers[0].load_state_dict(state)

    data, one, net = Labelled(trace.labelled[1], 4), Trace(), Net()
    net.load_state_dict(trace.starts[1])
    fresh = make_trainer(tmp_path, Momentum(), one, acquisition=L.Callback(), logger=Memory())
    fresh.fit(net, datamodule=data)
    assert trace.fits[1] == one.fits[0]


def test_members_of_a_committee_begin_with_the_first_values_too(tmp_path):
    starts = []

    class Sees(Drifts):
        def on_train_start(self):
            starts.append((self.temperature, self.prior.tolist(), self.plain.tolist()))

    model = Sees()
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, acquisition=QueryByCommittee(members=2)))
    assert len(starts) > 2
    assert starts == [starts[0]] * len(starts)
    assert starts[0][0] == 2.0
    assert model.temperature < 2.0
