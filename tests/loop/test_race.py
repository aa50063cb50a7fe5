"""A race asks for nothing and trains nothing; one of its acquisitions is then asked for, and the ledger says which."""

import json
import logging

import pytest
import torch

from lightning_al import AwaitTell, Campaign, RaceResult
from lightning_al.acquisition import (
    BALD,
    SAAL,
    Acquisition,
    CoreSet,
    Entropy,
    LearningLoss,
    Margin,
    ProbCover,
    QueryByCommittee,
    Random,
)
from lightning_al.loop.race import racers_of
from tests.helpers import reference
from tests.helpers.inference import Seen
from tests.helpers.marks import slow
from tests.helpers.projects import SIZE, Data, NeverTrains, Starts, loop_in, make_data, make_trainer

X, Y = make_data()


def events(folder):
    return [json.loads(path.read_text()) for path in sorted((folder / "c" / "ledger").glob("*.json"))]


@pytest.fixture
def asked(tmp_path):
    """A loop whose first question is answered."""
    loop = loop_in(tmp_path, rounds=None)
    return loop, make_trainer(tmp_path)


def test_nothing_is_asked_for_or_trained_twice(tmp_path):
    model = Starts()
    loop, trainer = loop_in(tmp_path, model=model, rounds=None), make_trainer(tmp_path)
    race = loop.race(trainer, [Entropy(), Margin(), "Random"])
    assert (len(model.starts), loop.status, loop.pool.spent) == (1, "new", 8)
    assert [event["kind"] for event in events(tmp_path)] == ["started", "asked", "answered", "fitted"]
    again = loop.race(trainer, [Entropy(), Margin()], 6)
    assert again["Entropy"].indices[:4] == race["Entropy"].indices
    picked = loop.ask(trainer, acquisition="Margin")
    assert picked == again["Margin"].indices
    assert len(model.starts) == 1
    loop.tell(picked, Y[picked].tolist())
    assert loop.ask(trainer) == loop.history[-1].picked
    assert len(model.starts) == 2


def test_the_ledger_says_which_was_asked_for(tmp_path, asked):
    loop, trainer = asked
    race = loop.race(trainer, {"sharp": SAAL(rho=0.1), "even": CoreSet()}, 3)
    picked = loop.ask(trainer, acquisition="sharp")
    question = events(tmp_path)[-2]
    assert question["kind"] == "asked"
    assert (question["indices"], question["scores"]) == (race["sharp"].indices, race["sharp"].scores)
    assert question["raced"] == ["sharp", "even"]
    assert (question["acquisition"]["class"], question["acquisition"]["rho"]) == ("SAAL", 0.1)
    [result] = Campaign.load(tmp_path / "c").rounds
    assert (result.picked, result.acquisition) == (picked, question["acquisition"])
    loop.tell(picked, Y[picked].tolist())
    loop.ask(trainer)
    assert Campaign.load(tmp_path / "c").rounds[1].acquisition == {}


@pytest.mark.slow
def test_another_process_asks_for_what_was_raced(tmp_path, asked):
    loop, trainer = asked
    race = loop.race(trainer, [Entropy(), Margin()])
    again = loop_in(tmp_path, rounds=None)
    assert again.ask(make_trainer(tmp_path), acquisition="Margin") == race["Margin"].indices


@pytest.mark.slow
def test_what_was_raced_is_asked_for_only_where_nothing_changed(tmp_path, asked):
    loop, trainer = asked
    with pytest.raises(ValueError, match="`acquisition='Entropy'` asks for the picks of an acquisition that was raced"):
        loop.ask(trainer, acquisition="Entropy")
    loop.race(trainer, [Entropy(), Margin()], 3)
    with pytest.raises(ValueError, match=r"`acquisition='SAAL'` was not raced\. There are Entropy, Margin"):
        loop.ask(trainer, acquisition="SAAL")
    with pytest.raises(ValueError, match="the race was for 3 picks each"):
        loop.ask(trainer, 2, acquisition="Entropy")
    with pytest.raises(ValueError, match="leave out `keep_scores`"):
        loop.ask(trainer, keep_scores=True, acquisition="Entropy")
    with pytest.raises(TypeError, match="`acquisition` must be the name of one that was raced, or None"):
        loop.ask(trainer, acquisition=Entropy())
    [sample] = loop.ask(trainer, 1)  # the round's question, after which comes another round
    with pytest.raises(ValueError, match="Race first"):
        loop.ask(trainer, acquisition="Entropy")
    loop.race(trainer, [Entropy(), Margin()], 3)
    loop.release([sample])  # which joins the candidates
    with pytest.raises(ValueError, match="The candidates are not those of the race any more"):
        loop.ask(trainer, acquisition="Entropy")
    loop.race(trainer, [Entropy(), Margin()], 3)
    loop.tell([sample], Y[[sample]].tolist())
    with pytest.raises(ValueError, match="Race first"):
        loop.ask(trainer, acquisition="Entropy")


@pytest.mark.slow
def test_a_budget_that_does_not_cover_all(tmp_path):
    loop, trainer = loop_in(tmp_path, rounds=None, budget=10), make_trainer(tmp_path)
    race = loop.race(trainer, [Entropy(), Random()])
    assert [len(each.indices) for each in race.raced] == [2, 2]
    assert loop.ask(trainer, acquisition="Random") == race["Random"].indices


@pytest.mark.parametrize("kept", [0, slow(1.0)])
def test_forward_passes_are_made_once(tmp_path, kept):
    """Those of the pool and the labelled samples; picks are looked at in what was kept; rehearsals apart."""
    model, looked = Seen(), {}

    class Count(Acquisition):
        """Marks where the race begins: it is the last one that learns."""

        requires = frozenset()

        def learn(self, query):
            looked["from"] = len(model.seen)

        def select(self, rows, k, *, labelled_rows, generator):
            return torch.arange(k)

    loop = loop_in(tmp_path, model=model, rounds=None, cache_gb=kept, pool_batch_size=20)
    trainer = make_trainer(tmp_path)
    loop.ask(trainer)  # fits, and asks for 4
    both = [Entropy(), Margin(), Entropy(selection="badge"), CoreSet(), "BADGE", "TypiClust", Count()]
    race = loop.race(trainer, both)
    made = sum(model.seen[looked["from"] :])
    assert [each.forward for each in race.raced] == ["shared"] * 6 + ["none"]
    if not kept:
        union = {index for each in race.raced for index in each.indices}
        assert made == (SIZE - 8 - 4) + 8 + len(union | set(loop.pool.labelled.tolist()))
        return
    assert made == 8 + (SIZE - 8 - 4) + 8  # outputs are compared, then features made; and of labelled ones
    again = loop.race(trainer, both)
    assert again.picks == race.picks
    assert sum(model.seen[looked["from"] :]) == 8


@pytest.mark.slow
def test_one_that_draws_leaves_the_others_as_they_are(tmp_path):
    class Drawing(Acquisition):
        requires = frozenset()

        def score_batch(self, model, batch):
            return torch.rand(len(batch[0]))

    alone = []
    for number, each in enumerate((Entropy(), Drawing())):
        loop = loop_in(tmp_path / str(number), rounds=None)
        alone.append(loop.ask(make_trainer(tmp_path, acquisition=each)))
    loop = loop_in(tmp_path / "both", rounds=None)
    race = loop.race(make_trainer(tmp_path), [Drawing(), Entropy()])
    assert race.picks == {"Drawing": alone[1], "Entropy": alone[0]}


@pytest.mark.slow
def test_those_that_train_leave_the_model_as_it_is(tmp_path):
    loop, trainer = loop_in(tmp_path, rounds=None), make_trainer(tmp_path)
    loop.ask(trainer)
    before = reference.snapshot(loop.model)
    race = loop.race(trainer, [QueryByCommittee(members=2), BALD(add_dropout=0.5), "SAAL", "Entropy"])
    assert reference.snapshot(loop.model) == before
    assert [each.forward for each in race.raced] == ["own", "own", "own", "shared"]
    assert race["QueryByCommittee"].seconds["learn"] > 0


@pytest.mark.slow
def test_progress_is_shown(asked, caplog):
    loop, trainer = asked
    with caplog.at_level(logging.INFO):
        loop.race(trainer, [Entropy(), "Random"])
    assert "Race of 2 acquisitions over 52 candidates: Entropy, Random." in caplog.messages


# -- who cannot race -----------------------------------------------------------------------------------------------

UNKNOWN = {
    "none": ([], ValueError, "`acquisitions` is empty"),
    "one twice": (
        [Entropy(), Margin(), Entropy()],
        ValueError,
        r"`Entropy` is among the acquisitions twice, and would pick the same twice",
    ),
    "one object twice": ([Random()] * 2, ValueError, "`Random` is among the acquisitions twice"),
    "a name of none": (["Entropi"], ValueError, r"There is no acquisition 'Entropi' \(did you mean 'Entropy'\?\)\."),
    "a name like none": (["xyz"], ValueError, "There is no acquisition 'xyz'. There are BADGE, BALD"),
    "a class": ([Entropy], TypeError, r"Entropy among the acquisitions is a class; write `Entropy\(\)`"),
    "a number": ([3], TypeError, "must be as `Entropy()`, or names of their classes, got 3".replace("()", r"\(\)")),
    "no list": (Entropy(), TypeError, "`acquisitions` must be a list of acquisitions or of their names"),
    "a name of no words": ({"": Entropy()}, ValueError, "Names of acquisitions must be words, got ''"),
}


@pytest.mark.parametrize("case", UNKNOWN.values(), ids=UNKNOWN)
def test_who_is_no_acquisition_is_refused(case):
    acquisitions, kind, message = case
    with pytest.raises(kind, match=message):
        racers_of(acquisitions)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)3 things.*no acquisition 'a'.*no acquisition 'b'.*Random` is among"):
        racers_of(["a", "b", "Random", Random()])


def test_names_tell_options_of_one_class_apart():
    racers = racers_of([SAAL(), SAAL(rho=0.1), Entropy(), "CoreSet", SAAL(rho=0.1, selection="top")])
    assert list(racers) == ["SAAL", "SAAL(rho=0.1)", "Entropy", "CoreSet", "SAAL(rho=0.1, selection=top)"]
    assert list(racers_of({"sharp": SAAL(), "sharper": SAAL(rho=0.1)})) == ["sharp", "sharper"]
    encoders = [torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)]
    assert len(racers_of({str(i): CoreSet(encoder=each) for i, each in enumerate(encoders)})) == 2


def test_all_that_cannot_work_here_are_named_before_anything_trains(tmp_path):
    class Wrong(Acquisition):
        def score_batch(self, model, batch):
            return torch.zeros(len(batch[0]), 3)

    loop = loop_in(tmp_path, model=NeverTrains(), rounds=None)
    with pytest.raises((ValueError, TypeError)) as error:
        loop.race(
            make_trainer(tmp_path),
            [LearningLoss(), Entropy(), QueryByCommittee(source="snapshots"), Wrong(), "RIPU", "BALD"],
        )
    text = str(error.value)
    assert "5 things" in text
    for part in (
        "LearningLoss needs a model that learns to predict its loss",
        "`QueryByCommittee(source=snapshots)` needs snapshots of the model's fit",
        "`Wrong` must give one score per sample",
        "`RIPU` chooses regions",
        "BALD",
    ):
        assert part in text


def test_sizes_that_cannot_be_are_refused(tmp_path, asked):
    loop, trainer = asked
    with pytest.raises(ValueError, match=r"`k` must be an integer of at least 1 or None, got 0|`k` must be at least 1"):
        loop.race(trainer, [Entropy(), Random()], 0)
    with pytest.raises(ValueError, match=r"`race\(k=53\)` is more than the pool has left, 52"):
        loop.race(trainer, [Entropy(), Random()], 53)
    with pytest.raises(TypeError, match=r"`k` must be an integer.*, got 2\.0"):
        loop.race(trainer, [Entropy()], 2.0)


@pytest.mark.slow
def test_a_campaign_that_is_over_has_nothing_to_race_for(tmp_path):
    loop, trainer = loop_in(tmp_path), make_trainer(tmp_path)
    loop.run(trainer)
    with pytest.raises(ValueError, match="The campaign is over, so that nothing can be asked for"):
        loop.race(trainer, [Entropy(), Random()])
    loop.rounds = None
    assert len(loop.race(trainer, [Entropy(), Random()])["Random"].indices) == 4


@pytest.mark.slow
def test_where_nothing_is_labelled_the_initial_samples_are_told_first(tmp_path):
    loop, trainer = loop_in(tmp_path, oracle=AwaitTell(), rounds=None), make_trainer(tmp_path)
    with pytest.raises(RuntimeError, match="A race needs a model that was fitted"):
        loop.race(trainer, [Entropy(), Random()])
    first = loop.pool.pending.tolist()
    loop.tell(first, Y[first].tolist())
    race = loop.race(trainer, [Entropy(), Random()])
    assert race.classes_are == "predicted"
    predicted = loop.model.eval()(X[race["Random"].indices]).argmax(1)
    assert race["Random"].classes == torch.bincount(predicted, minlength=3).tolist()


# -- what it says --------------------------------------------------------------------------------------------------


def test_classes_and_distances_are_those_of_a_plain_loop(tmp_path):
    loop, trainer = loop_in(tmp_path, rounds=None, cache_gb=0), make_trainer(tmp_path)
    race = loop.race(trainer, [Margin(), ProbCover(delta=0.5)])
    assert isinstance(race, RaceResult)
    assert (race.round, race.labelled, race.candidates, race.k) == (0, 8, 52, 4)
    assert (race.classes, race.classes_are) == (("0", "1", "2"), "true")
    hidden = loop.model.eval().net[:4](X).detach()
    labelled = loop.pool.labelled.tolist()
    for each in race.raced:
        assert each.classes == [int((Y[each.indices] == c).sum()) for c in range(3)]
        near = [min(float((hidden[i] - hidden[j]).norm()) for j in labelled) for i in each.indices]
        apart = [min(float((hidden[i] - hidden[j]).norm()) for j in each.indices if j != i) for i in each.indices]
        assert each.to_labelled == pytest.approx(sum(near) / 4, rel=1e-9)
        assert each.apart == pytest.approx(sum(apart) / 4, rel=1e-9)
        assert each.keys == [loop.task.input_key(loop.datamodule.datamodule.train, i) for i in each.indices]


@pytest.mark.slow
def test_no_picks_are_looked_at_where_the_model_has_no_features(tmp_path):
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64))

        def forward(self, x):
            return x @ self.weight

    loop = loop_in(tmp_path, rounds=None)
    loop.model.net = Bare()
    race = loop.race(make_trainer(tmp_path), [Entropy(), Random()])
    assert [str(each.to_labelled) for each in race.raced] == ["nan", "nan"]
    assert race.classes_are == "true"


def test_a_second_question_without_new_labels_makes_no_forward_pass(tmp_path):
    model = Seen()
    loop, trainer = loop_in(tmp_path, model=model, rounds=None), make_trainer(tmp_path)
    loop.ask(trainer)
    model.seen.clear()
    loop.ask(trainer)
    assert model.seen == [8] or sum(model.seen) <= 8
    again = loop_in(tmp_path, model=Seen(), rounds=None)  # in another process
    model.seen.clear()
    again.ask(make_trainer(tmp_path))
    assert sum(model.seen) <= 8


@pytest.mark.slow
def test_a_campaign_that_runs_keeps_nothing(tmp_path):
    loop = loop_in(tmp_path)
    loop.run(make_trainer(tmp_path))
    assert not (tmp_path / "c" / "cache").exists()


@pytest.mark.slow
def test_old_campaigns_go_on_without_a_word(tmp_path, recwarn):
    loop_in(tmp_path, cache_gb=0).ask(make_trainer(tmp_path))
    loop_in(tmp_path).ask(make_trainer(tmp_path))
    assert not [w for w in recwarn if "options that changed" in str(w.message)]
    with pytest.raises(ValueError, match="`cache_gb` must be at least 0 and finite, got -1"):
        loop_in(tmp_path, cache_gb=-1)


@pytest.mark.slow
def test_data_of_another_kind_race_too(tmp_path):
    """A pool that is known by its index alone: random inputs are scored each time anew."""

    class Noisy(Data):
        def setup(self, stage):
            super().setup(stage)
            rows = self.train

            class Rows(torch.utils.data.Dataset):
                def __len__(self):
                    return len(rows)

                def __getitem__(self, index):
                    x, y = rows[index]
                    return x + 0.01 * torch.rand(4, dtype=torch.float64), y

            self.train = Rows()

    alone = []
    for number, each in enumerate((Entropy(), CoreSet())):
        loop = loop_in(tmp_path / str(number), data=Noisy(), rounds=None)
        with pytest.warns(UserWarning, match="random"):
            alone.append(loop.ask(make_trainer(tmp_path, acquisition=each)))
    loop = loop_in(tmp_path / "both", data=Noisy(), rounds=None)
    with pytest.warns(UserWarning, match="random"):
        race = loop.race(make_trainer(tmp_path), [Entropy(), CoreSet()])
    assert list(race.picks.values()) == alone


class Single(Seen):
    """In float32, which a Trainer may lower."""

    def __init__(self):
        super().__init__()
        self.net.float()

    def forward(self, x):
        return super().forward(x.float())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32", "trainer"])
def test_in_the_trainers_precision_too(tmp_path, precision):
    alone = []
    options = {"rounds": None, "pool_precision": precision}
    for number, each in enumerate((Entropy(), CoreSet(), SAAL())):
        loop = loop_in(tmp_path / str(number), model=Single(), cache_gb=0, **options)
        alone.append(loop.ask(make_trainer(tmp_path, acquisition=each, precision="bf16-mixed")))
    loop = loop_in(tmp_path / "race", model=Single(), **options)
    race = loop.race(make_trainer(tmp_path, precision="bf16-mixed"), [Entropy(), CoreSet(), SAAL()])
    assert list(race.picks.values()) == alone
