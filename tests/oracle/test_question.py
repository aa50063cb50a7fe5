"""What an oracle is asked: a list of indices that knows more."""

import json
from pathlib import Path

from lightning_al.oracle import DatasetOracle, NoisyOracle, OpenQuestion, Oracle, Prediction
from tests.helpers.projects import Data, loop_in, make_data, make_trainer


def question(indices, **options):
    return OpenQuestion(indices, dataset=list("abcdef"), folder=Path("c"), **{"keys": {}, **options})


def test_it_is_a_list_of_indices():
    asked = question([4, 1])
    assert asked == [4, 1]
    assert json.dumps(asked) == "[4, 1]"
    assert [*asked, 2] == [4, 1, 2]


def test_samples_of_one_key():
    asked = question([4], keys={1: "x", 2: "x", 4: "y"})
    assert asked.indices_of() == {"x": [1, 2], "y": [4]}


def test_predictions_are_made_once_and_only_if_asked_for():
    calls = []

    def predict():
        calls.append(1)
        return {4: Prediction("cat", 0.5)}

    asked = question([4, 1], predict=predict)
    assert asked.only([1]) == [1]
    assert calls == []
    assert asked.prediction(4) == ("cat", 0.5)
    assert asked.prediction(1) is None
    assert calls == [1]


class Curious(Oracle):
    """Answers at once, and keeps what it was asked."""

    wants_predictions = True

    def __init__(self):
        self.seen = []

    def request(self, indices):
        self.asked = indices
        assert isinstance(indices, OpenQuestion)
        self.seen.append([(i, indices.key(i), indices.prediction(i), indices.sample(i)) for i in indices])

    def poll(self):
        y = make_data()[1]
        return {i: int(y[i]) for i in self.asked}


def test_what_the_model_says_of_each_question(tmp_path):
    oracle = Curious()
    loop = loop_in(tmp_path, oracle=oracle)
    trainer = make_trainer(tmp_path)
    history = loop.run(trainer)
    initial, *rounds = oracle.seen
    assert all(prediction is None for _, _, prediction, _ in initial)
    assert [[i for i, *_ in asked] for asked in rounds] == [r.picked for r in history[:-1]]
    for asked in rounds:
        for index, key, prediction, (x, y) in asked:
            assert key.startswith("sha256:")
            assert x.equal(make_data()[0][index])
            assert 1 / 3 <= prediction.confidence <= 1
    plain = loop_in(tmp_path / "plain", data=Data()).run(make_trainer(tmp_path / "plain"))
    assert [r.picked for r in history] == [r.picked for r in plain]
    assert [r.metrics for r in history] == [r.metrics for r in plain]


def test_a_noisy_oracle_hands_the_question_on(tmp_path):
    oracle = Curious()
    loop_in(tmp_path, oracle=NoisyOracle(oracle), rounds=1).run(make_trainer(tmp_path))
    assert [len(asked) for asked in oracle.seen] == [8, 4]
    assert oracle.seen[1][0][2] is not None


def test_an_oracle_that_corrects_is_polled_with_nothing_pending_too(tmp_path):
    class Corrects(DatasetOracle):
        corrects = True
        annotator = "people"
        polls = 0

        def poll(self):
            self.polls += 1
            return super().poll()

    oracle = Corrects()
    loop = loop_in(tmp_path, oracle=oracle, rounds=1)
    loop.run(make_trainer(tmp_path))
    assert (loop.status, oracle.polls) == ("finished", 3)  # at the start, and after each fit
    loop.run(make_trainer(tmp_path), resume=True)
    assert oracle.polls == 4
