"""What an acquisition trains besides the model is kept with the campaign, and not trained again when it goes on."""

from pathlib import Path

import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign, Oracle
from lightning_al.acquisition import Acquisition
from tests.helpers.projects import Data, Net, make_trainer


class Direction(Acquisition):
    """Scores by a direction that it learns from the labelled samples."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.made = []
        self.seen = []
        self.direction = None
        self.fail_at = fail_at

    def learn(self, query):
        def make():
            self.made.append(query.round)
            samples = [x for batch in query.loader(query.labelled.view(-1, 1).tolist()) for x in batch[0]]
            return {"direction": torch.stack(samples).mean(0), "labelled": len(samples)}

        state = query.keep("direction", make)
        self.direction = state["direction"]
        self.seen.append((query.round, query.seed, state["labelled"]))
        if query.round == self.fail_at:
            raise KeyboardInterrupt

    def score_batch(self, model, batch):
        x = self.task.inputs(batch)
        return x.sum(1) if self.direction is None else x @ self.direction


def run(folder, acquisition, *, resume=False):
    loop = ActiveLearningLoop(Net(), Data(), initial=8, query_size=3, rounds=3, dirpath=folder)
    loop.run(make_trainer(folder, acquisition=acquisition), resume=resume)
    return loop


def test_it_learns_before_every_query_from_what_is_labelled_then(tmp_path):
    acquisition = Direction()
    loop = run(tmp_path / "a", acquisition)
    assert acquisition.made == [0, 1, 2]
    assert [labelled for _, _, labelled in acquisition.seen] == [8, 11, 14]
    assert len({seed for _, seed, _ in acquisition.seen}) == 3
    assert all(r.seconds["learn"] > 0 for r in loop.history[:-1])


def test_a_killed_campaign_does_not_learn_again_what_is_on_disk(tmp_path):
    whole = run(tmp_path / "a", Direction())
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path / "b", Direction(fail_at=1))
    again = Direction()
    resumed = run(tmp_path / "b", again, resume=True)
    assert again.made == [2]  # round 1's was found
    assert [r.picked for r in resumed.history] == [r.picked for r in whole.history]


def test_only_the_last_round_s_is_kept(tmp_path):
    run(tmp_path / "a", Direction())
    kept = [p.parent.name for p in Path(tmp_path / "a").rglob("direction_*.ckpt")]
    assert kept == []  # the last fit came after the last query
    assert len(Campaign.load(tmp_path / "a").rounds) == 4


def test_samples_that_are_labelled_come_with_the_labels_that_were_told(tmp_path):
    class Told(Acquisition):
        def learn(self, query):
            pairs = {}
            for indices in (query.labelled, query.candidates):
                for x, y in query.loader([some.tolist() for some in indices.split(5)]):
                    pairs |= {tuple(a.tolist()): int(b) for a, b in zip(x, y, strict=True)}
            self.pairs = pairs

        def score_batch(self, model, batch):
            return self.task.inputs(batch).sum(1)

    acquisition = Told()
    loop = ActiveLearningLoop(Net(), Data(), initial=list(range(8)), query_size=3, oracle=Silent())
    trainer = make_trainer(tmp_path, acquisition=acquisition)
    loop.ask(trainer)
    loop.tell(range(8), [0] * 7 + [1])
    loop.ask(trainer)
    x, y = loop.datamodule.train_set.tensors
    told = [acquisition.pairs[tuple(row.tolist())] for row in x[:8]]
    assert told == [0] * 7 + [1]
    rest = [acquisition.pairs[tuple(row.tolist())] for row in x[8:]]
    assert rest == y[8:].tolist()


class Silent(Oracle):
    simulated = False

    def request(self, indices):
        pass

    def poll(self):
        return {}
