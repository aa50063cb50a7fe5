"""Answers of oracles and people, good and bad, on their way to the ledger."""

import numpy as np
import pytest

from lightning_al import SKIP, Campaign, ClassificationTask
from lightning_al.loop.label import answers_of
from tests.helpers.ledger import record
from tests.helpers.oracles import Answering
from tests.helpers.projects import Data, loop_in, make_data, make_trainer, picks


def test_one_bad_answer_loses_no_good_one(tmp_path):
    y = make_data()[1].tolist()
    bad = []

    def answer(i):
        bad[:] = bad or [i]
        return "cat" if i == bad[0] else y[i]

    with pytest.raises(TypeError, match=r"1 label\(s\) cannot be taken. Dataset index"):
        loop_in(tmp_path, oracle=Answering(answer)).run(make_trainer(tmp_path))
    ledger = Campaign.load(tmp_path / "c")
    assert len(ledger.pool.labelled) == 7
    assert ledger.pool.pending.tolist() == bad
    again = loop_in(tmp_path, oracle=Answering(lambda i: y[i]))
    assert len(again.run(make_trainer(tmp_path), resume=True)) == 3


def test_answers_in_numpys_types(tmp_path):
    y = make_data()[1].numpy()

    class Numpy(Answering):
        def poll(self):
            return {np.int64(i): y[i] for i in self.asked}

    history = loop_in(tmp_path, oracle=Numpy(None)).run(make_trainer(tmp_path))
    assert picks(history) == picks(loop_in(tmp_path / "b").run(make_trainer(tmp_path)))


def test_told_before_the_data_are_set_up(tmp_path):
    class Files(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train.samples = [(f"img/{i}.png", 0) for i in range(self.n)]

    loop = loop_in(tmp_path, data=Files())
    free = loop.ask(make_trainer(tmp_path)) and loop.pool.unlabelled.tolist()[0]
    later = loop_in(tmp_path, data=Files())
    later.tell([free], [1])
    assert Campaign.load(tmp_path / "c").labels[free] == 1
    assert free not in loop_in(tmp_path, data=Files()).ask(make_trainer(tmp_path))


def test_ask_again_after_an_oracle_that_failed(tmp_path):
    def broken(i):
        raise ConnectionError("no service")

    with pytest.raises(ConnectionError):
        loop_in(tmp_path, oracle=Answering(broken)).ask(make_trainer(tmp_path))
    y = make_data()[1].tolist()
    assert len(loop_in(tmp_path, oracle=Answering(lambda i: y[i])).ask(make_trainer(tmp_path))) == 4


@pytest.mark.parametrize("label", [-1, 3, 77])
def test_labels_that_no_class_has(tmp_path, label):
    loop, trainer = loop_in(tmp_path), make_trainer(tmp_path)
    asked = loop.ask(trainer)
    with pytest.raises(
        TypeError, match=rf"Dataset index {asked[0]}: Class indices must be at least 0 and below 3.*{label}"
    ):
        loop.tell(asked[:1], [label])


def test_who_said_what_is_in_the_ledger(tmp_path):
    y = make_data()[1].tolist()

    class Two(Answering):
        annotator = "somebody"

        def annotator_of(self, index):
            return "anna" if index % 2 else "ben"

    loop_in(tmp_path, oracle=Two(lambda i: SKIP if i % 3 == 0 else y[i])).run(make_trainer(tmp_path))
    answers = [e for e in Campaign.read_events(tmp_path / "c") if e["kind"] in ("answered", "skipped")]
    assert {e["kind"] for e in answers} == {"answered", "skipped"}
    for event in answers:
        assert {("anna" if i % 2 else "ben") for i in event["indices"]} == {event["annotator"]}


def test_by_its_key_all_samples_of_one_input_are_told(tmp_path):
    folder = tmp_path / "c"
    campaign = Campaign(folder, Campaign.create(folder, size=4, options={}))
    record(campaign, "asked", round=-1, indices=[2, 0, 3], keys=["k", "other", "k"], scores=[], seconds={})
    answers = answers_of(campaign, ["other", "k"], [0, 1], task=ClassificationTask(), places=lambda names: {})
    assert answers.labels == {0: 0, 2: 1, 3: 1}
    with pytest.raises(ValueError, match="2 indices and 1 labels"):
        answers_of(campaign, ["other", "k"], [0], task=ClassificationTask(), places=lambda names: {})
