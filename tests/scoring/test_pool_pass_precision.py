"""In which precision the model looks at a pool: float32, or the Trainer's with float32 outputs."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al.acquisition import (
    BADGE,
    BALD,
    SAAL,
    Acquisition,
    CoreSet,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LearningLoss,
    LPLGrad,
    Margin,
    QueryByCommittee,
)
from lightning_al.training import LossPredictionMixin
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer
from tests.helpers.scored import scored

X = make_data(200)[0].float()
POOL = TensorDataset(X)
SEEN = []  # not of a model, whose own lists are put back after a pass


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


class Single(Net):
    """In float32; notes in what each of its forward passes runs."""

    def __init__(self, **options):
        super().__init__(**options)
        self.float()

    def forward(self, x):
        logits = super().forward(x.to(self.net[0].weight.dtype))
        SEEN.append((torch.is_autocast_enabled("cpu"), logits.dtype))
        return logits


class Learns(LossPredictionMixin, Single):
    loss_width = 6


class Own(Acquisition):
    """One of a user's own, which calls the model itself and computes with what it gives."""

    def score_batch(self, model, batch):
        logits = self.task.logits(model, self.task.inputs(batch))
        self.noted = logits.dtype, (logits @ logits.T).dtype, torch.is_autocast_enabled("cpu")
        return logits.softmax(1).amax(1)


def lowered(model):
    """What the model says by hand under autocast, (N, C), in float64: one batch at a time, as the pass has them."""
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.cat([model.eval().net(x) for x in X.split(50)]).double()


def full(model):
    with torch.no_grad():
        return model.eval().net(X).double()


def score_in(folder, acquisition, model, precision="bf16-mixed", k=20, **options):
    trainer = make_trainer(folder, precision=precision, accelerator="cpu")
    return scored(folder, acquisition, k, model=model, dataset=POOL, trainer=trainer, batch_size=50, **options)


FORWARD = {
    "entropy": Entropy,
    "own": Own,
    "badge": BADGE,
    "features": CoreSet,
    "dropout": lambda: BALD(passes=3, add_dropout=0.3),
    "loss prediction": LearningLoss,
}
BY_GRADIENTS = {
    "saal": SAAL,
    "saal badge": lambda: SAAL(selection="badge"),
    "norm": EntropyGradNorm,
    "expected": ExpectedGradNorm,
    "lplgrad": LPLGrad,
}


def model_for(name):
    if name not in ("loss prediction", "lplgrad"):
        return Single()
    model = Learns()
    model.predict_losses(X[:2])
    return model


@pytest.mark.parametrize("name", ["entropy", "own", *map(slow, ("badge", "features", "dropout", "loss prediction"))])
def test_the_model_looks_at_the_pool_in_the_precision_that_is_asked_for(tmp_path, name):
    for precision, low in (("32", False), ("trainer", True)):
        model = model_for(name)
        SEEN.clear()
        score_in(tmp_path, FORWARD[name](), model, pool_precision=precision)
        # What the task or the company check looks at first is in full precision in any case.
        assert {autocast for autocast, _ in SEEN} <= {False, low}
        assert (True in [autocast for autocast, _ in SEEN]) is low
        assert {dtype for autocast, dtype in SEEN if autocast} <= {torch.bfloat16}
        assert not torch.is_autocast_enabled("cpu")
        assert "forward" not in vars(model)


@pytest.mark.parametrize("name", [slow("saal"), slow("saal badge"), "norm", slow("expected"), slow("lplgrad")])
def test_scores_by_gradients_are_in_full_precision_and_the_same(tmp_path, name):
    of_both = []
    for precision in ("32", "trainer"):
        model = model_for(name)
        of_both.append(score_in(tmp_path, BY_GRADIENTS[name](), model, pool_precision=precision))
        assert SEEN
        assert {autocast for autocast, _ in SEEN} == {False}
    assert torch.equal(of_both[0].score, of_both[1].score)
    assert of_both[0].picks == of_both[1].picks


def test_scores_are_those_of_logits_in_that_precision_by_hand(tmp_path):
    model = Single()
    by_hand = {"32": reference.entropy(full(model)), "trainer": reference.entropy(lowered(model))}
    for precision, want in by_hand.items():
        got = score_in(tmp_path, Entropy(), model, pool_precision=precision).score
        torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=1e-6)
    assert float((by_hand["32"] - by_hand["trainer"]).abs().max()) > 1e-4  # or nothing was tried


def test_what_an_acquisition_of_ones_own_computes_is_never_lowered(tmp_path):
    for precision in ("32", "trainer"):
        own = Own()
        score_in(tmp_path, own, Single(), pool_precision=precision)
        assert own.noted == (torch.float32, torch.float32, False)


@pytest.mark.parametrize("acquisition", [Entropy, slow(Margin)])
def test_picks_agree_up_to_what_rounding_does_to_the_scores(tmp_path, acquisition):
    one, other = (
        score_in(tmp_path, acquisition(), Single(), pool_precision=precision) for precision in ("32", "trainer")
    )
    rounding = float((one.score - other.score).abs().max())
    assert 0 < rounding < 0.02
    assert len(set(one.picks) & set(other.picks)) >= 17
    worst = float(one.score[torch.tensor(one.picks)].min())
    assert float(one.score[torch.tensor(other.picks)].min()) >= worst - 2 * rounding


@pytest.mark.parametrize("precision", ["32", "trainer"])
def test_weights_in_half_precision(tmp_path, precision):
    model = Single()
    score = score_in(tmp_path, Entropy(), model, "bf16-true", pool_precision=precision).score
    assert score.dtype == torch.float32
    assert SEEN[-1][1] == (torch.bfloat16 if precision == "trainer" else torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("precision", [slow("32"), slow("trainer")])
def test_double_precision_stays(tmp_path, precision):
    score = score_in(tmp_path, Entropy(), Single(), "64-true", pool_precision=precision).score
    assert score.dtype == torch.float64


@pytest.mark.slow
def test_members_of_a_committee_too(tmp_path):
    class Float(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train, self.held_out = (
                TensorDataset(d.tensors[0].float(), d.tensors[1]) for d in (self.train, self.held_out)
            )

    scores = {}
    for precision in ("32", "trainer"):
        model = Single()
        options = {"rounds": 1, "evaluate": None, "pool_precision": precision, "dirpath": tmp_path / precision}
        loop = loop_in(tmp_path, model, Float(), **options)
        committee = QueryByCommittee(members=2, score="kl")
        trainer = make_trainer(tmp_path, acquisition=committee, precision="bf16-mixed", max_epochs=1, accelerator="cpu")
        [first, _] = loop.run(trainer)
        assert len(first.picked) == 4
        scores[precision] = first.scores
    assert scores["32"] != scores["trainer"]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["16", "bf16-mixed", "32-true", "Trainer", 16, None, True, 32.0, ""])
def test_other_values_are_refused(tmp_path, value):
    says = "`pool_precision` must be one of '32', 'trainer', got "
    with pytest.raises(ValueError, match=says):
        loop_in(tmp_path, pool_precision=value)
    loop = loop_in(tmp_path)
    with pytest.raises(ValueError, match=says):
        loop.pool_precision = value
    with pytest.raises(ValueError, match=says):
        scored(tmp_path, Entropy(), pool_precision=value)


def test_a_number_will_do_as_yaml_reads_it(tmp_path):
    loop = loop_in(tmp_path, pool_precision=32)
    assert loop.pool_precision == 32
    loop.pool_precision = "trainer"
    assert loop.settings.pool_precision == "trainer"


class Linear(nn.Module):
    """A model that is no Lightning module, for an encoder."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x):
        SEEN.append(("encoder", torch.is_autocast_enabled("cpu")))
        return self.layer(x)


def test_networks_that_the_trainer_does_not_train_stay_in_full_precision(tmp_path):
    score_in(tmp_path, CoreSet(encoder=Linear()), Single(), pool_precision="trainer")
    assert set(SEEN) == {("encoder", False)}
