"""The same picks whatever else is in a sample's batch, or a refusal before anything trains."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import (
    BADGE,
    BALD,
    SRAAL,
    VAAL,
    CoreGCN,
    CoreSet,
    Entropy,
    LearningLoss,
    MCDropout,
    ProbCover,
    Random,
    TypiClust,
    UncertainGCN,
)
from tests.helpers import texts
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, make_trainer
from tests.helpers.texts import KNOWN, UNKNOWN, Averages, Learner, Module, Secret, picked

MAKES = {
    "CoreSet": lambda layer: CoreSet(features=layer),
    "BADGE": lambda layer: BADGE(features=layer),
    "TypiClust": lambda layer: TypiClust(features=layer, max_clusters=5),
    "ProbCover": lambda layer: ProbCover(features=layer),
    "CoreGCN": lambda layer: CoreGCN(features=layer, steps=20),
    "UncertainGCN": lambda layer: UncertainGCN(features=layer, steps=20),
    "LearningLoss": lambda layer: LearningLoss(),
    "the last linear layer": lambda layer: CoreSet(),
    "badge": lambda layer: Entropy(selection="badge"),
}
QUICK = {("CoreSet", "Averages"), ("LearningLoss", "Averages"), ("LearningLoss", "OfLengths"), ("badge", "EachWord")}
PAIRS = [
    (name, kind) if (name, kind.__name__) in QUICK else slow(name, kind) for name in MAKES for kind in KNOWN
]  # fmt: skip


def model_of(name):
    return Learner if name == "LearningLoss" else Module


@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_picks_are_those_of_samples_scored_alone(tmp_path, name, kind):
    one, many = (picked(tmp_path, kind, MAKES[name](kind.layer), size, model_of(name)) for size in (1, 50))
    assert one == many


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [name if name in ("CoreSet", "LearningLoss") else slow(name) for name in MAKES])
@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_depends_on_the_batch_is_refused_before_anything_trains(tmp_path, name, kind):
    if kind is Secret and name in ("the last linear layer", "badge"):
        pytest.skip("looks past the padding itself")
    said = r"works with depends on what else is in a sample's batch: 8 samples .*batches of 50 by up to \d.*`features=`"
    with pytest.raises(ValueError, match=said):
        picked(tmp_path, kind, MAKES[name](kind.layer), 50, model_of(name))
    assert not list(tmp_path.iterdir())
    assert len(picked(tmp_path, kind, MAKES[name](kind.layer), 1, model_of(name))) == 6  # what it suggests works


def test_the_layers_that_it_suggests_work(tmp_path):
    class Late(Learner):
        loss_layers = ["net.out"]

    assert picked(tmp_path, Secret, LearningLoss(), 1, Late) == picked(tmp_path, Secret, LearningLoss(), 50, Late)


class Words(nn.Module):
    """Gives a vector for each word."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.words, self.inner = nn.Embedding(texts.WORDS, 6).double(), nn.Linear(6, 4).double()

    def forward(self, inputs):
        return self.inner(self.words(inputs["ids"]).tanh())


def test_an_encoders_sequences_are_averaged_under_the_mask_that_it_is_given(tmp_path):
    one, many = (picked(tmp_path, Averages, CoreSet(encoder=Words()), size) for size in (1, 50))
    assert one == many


def test_an_encoder_that_is_told_of_no_padding_is_refused_also_for_the_initial_set(tmp_path):
    with pytest.raises(ValueError, match="`CoreSet` works with depends on"):
        picked(tmp_path, Secret, CoreSet(encoder=Words()), 50)
    with pytest.raises(ValueError, match=r"`TypiClust` works with depends on|`TypiClust` gave rows of shape"):
        picked(tmp_path, Secret, Random(), 50, initial_by=TypiClust(encoder=Words()))
    assert not list(tmp_path.iterdir())


class Dropping(Averages):
    """Drops numbers of each word: padded samples get the masks of shorter ones at the words that they have."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, ids, keep):
        return self.average(self.dropout(self.hidden(self.words(ids)).tanh()), keep)


class DroppingPairs(Averages):
    """Drops attention between any two words, whose masks are of another shape for each length."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, ids, keep):
        h = self.words(ids)
        return self.average(self.attention(h, h, h, key_padding_mask=keep == 0)[0], keep)


def test_dropout_of_padded_samples_is_that_of_samples_alone_or_refused(tmp_path):
    one, many = (picked(tmp_path, Dropping, MCDropout(passes=4), size) for size in (1, 50))
    assert one == many
    with pytest.raises(ValueError, match="`BALD` works with depends on what else is in a sample's batch"):
        picked(tmp_path, DroppingPairs, BALD(passes=4), 50)
    assert len(picked(tmp_path, DroppingPairs, BALD(passes=4), 1)) == 6


# ------------------------------------------------------------------------------------------------ what is not refused


def test_rows_that_are_others_in_every_pass_are_not_taken_for_padding(tmp_path):
    class Draws(Net):
        def forward(self, x):
            return super().forward(x + torch.randn_like(x))

    loop = ActiveLearningLoop(Draws(), Data(), initial=6, query_size=4, rounds=1, dirpath=tmp_path / "c")
    assert len(loop.run(make_trainer(tmp_path, acquisition=CoreSet(), max_epochs=1))) == 2


# ----------------------------------------------------------------------------------------------- inputs of many shapes


class Signals(texts.Texts):
    """Padded floats (B, T), alone in their batch."""

    def __init__(self):
        super().__init__()
        self.rows = [(torch.ones(2 + i % 5, dtype=torch.float64) * i, i % 3) for i in range(40)]

    def collate(self, samples):
        return pad_sequence([x for x, _ in samples], True), torch.tensor([y for _, y in samples])

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.rows, 4, collate_fn=self.collate)

    val_dataloader = train_dataloader


class Sums(Net):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 3).double()

    def forward(self, x):
        return self.net(x.sum(1, keepdim=True))


@pytest.mark.parametrize("cls", [VAAL, SRAAL])
def test_inputs_of_many_shapes_are_refused_before_anything_trains(tmp_path, cls):
    loop = ActiveLearningLoop(Sums(), Signals(), initial=6, query_size=4, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(ValueError, match=rf"`{cls.__name__}` needs inputs of one shape, got \[\(\d,\), \(\d,\)\]"):
        loop.run(make_trainer(tmp_path, acquisition=cls(steps=1, width=2), max_epochs=1))
    assert not (tmp_path / "c").exists()


class OverPadding(Averages):
    takes = ["ids"]

    def forward(self, ids):
        return self.out(self.hidden(self.words(ids)).tanh().mean(1))


@pytest.mark.parametrize(("kind", "said"), [(OverPadding, 1), (Averages, 0)])
def test_outputs_that_depend_on_the_batch_are_said(tmp_path, kind, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picked(tmp_path, kind, Entropy(), 50)
    assert sum("depends on what else is in its batch" in str(warning.message) for warning in caught) == said
