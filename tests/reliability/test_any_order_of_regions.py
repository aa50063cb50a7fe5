"""Questions for parts of samples, answered, skipped, taken back, moved and killed in any order, beside plain sets."""

import functools
import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from lightning_al import SKIP, Campaign
from lightning_al.campaign import INITIAL_ROUND
from lightning_al.campaign.regions import region_blob
from lightning_al.campaign.standing import Standing
from lightning_al.loop.label import write_answers
from lightning_al.loop.parts import of_asked, prices_of
from lightning_al.oracle.answers import sort_answers
from lightning_al.oracle.simulated import DatasetOracle
from lightning_al.tasks.mask_png import mask_from_png
from tests.helpers.marks import slow
from tests.helpers.regions import region_task
from tests.reliability.test_any_order import Killed, killed_at_rename

PIXELS, VOID = 4, 255


@dataclass(eq=False)
class PlainSample:
    """What is known of a sample, as sets of pixels."""

    asked: list[frozenset] = field(default_factory=list)
    open: bool = False  # whether the last of them is not answered
    last: bool = False  # whether it left nothing to ask for
    whole: bool = False  # whether all of it was asked for, or told unasked
    told: dict[int, int] | None = None
    skipped: bool = False

    @property
    def all_asked(self):
        return frozenset().union(*self.asked)

    @property
    def may_be_asked(self):
        return not (self.open or self.skipped or self.whole or (self.last and self.asked))

    @property
    def state(self):
        labelled, pending = self.told is not None, self.open
        return labelled, pending, self.skipped and not labelled, not (labelled or pending or self.skipped)


class Anyhow:
    """Does something to a campaign of a few samples, again and again, and to plain samples beside it."""

    def __init__(self, folder, draws):
        self.folder, self.draws = folder, draws
        self.samples = [PlainSample() for _ in range(draws.randint(1, 5))]
        self.order: list[PlainSample] = []  # as labels came
        self.round = INITIAL_ROUND
        self.campaign = Campaign(folder, Campaign.create(folder, size=len(self.samples), options={}, root="/"))

    def step(self):
        steps = {self.ask: 6, self.answer: 8, self.tell_unasked: 1, self.release: 2, self.forget: 1, self.move: 1}
        self.draws.choices(list(steps), list(steps.values()))[0]()
        if self.draws.random() < 0.1:
            self.load()
        for campaign in (self.campaign, Campaign.load(self.folder)):
            self.check(campaign)
        standing = Standing(self.folder)
        for number, state in enumerate(("labelled", "pending", "skipped")):
            wanted = [i for i, sample in enumerate(self.samples) if sample.state[number]]
            assert sorted(standing.units(state)) == wanted
        assert standing.spent == self.campaign.pool.spent

    def load(self):
        self.campaign = Campaign.load(self.folder)

    def some(self, of):
        """The indices of some samples that are so; of none if there are none."""
        found = [i for i, sample in enumerate(self.samples) if of(sample)]
        return self.draws.sample(found, self.draws.randint(1, len(found))) if found else []

    def killed(self, work):
        """Do some work, or be killed on the way; whether that was so."""
        try:
            with killed_at_rename(self.draws.choice([0] * 8 + [1, 2, 3]), self.draws.random() < 0.5):
                work()
        except Killed:
            self.load()
            return True
        return False

    def write(self, kind, **fields):
        return not self.killed(lambda: self.campaign.apply(self.campaign.write(kind, **fields)))

    def key(self, index):
        return self.campaign.keys.get(index, f"key {index}")

    def ask(self):
        """For all of some samples, or for parts of them."""
        indices = self.some(lambda sample: sample.may_be_asked)
        fields = {"indices": indices, "keys": [self.key(i) for i in indices], "scores": [], "seconds": {}}
        in_parts = any(self.samples[i].asked for i in indices) or self.draws.random() < 0.9
        parts, last = {}, []
        if in_parts:
            for i in indices:
                left = sorted(set(range(PIXELS)) - self.samples[i].all_asked)
                parts[i] = frozenset(self.draws.sample(left, self.draws.randint(1, len(left))))
            last = [i for i in indices if len(self.samples[i].all_asked | parts[i]) == PIXELS]
            fields |= {"last": last, "pixels": [len(parts[i]) for i in indices]}
            fields["regions"] = [region_blob(np.isin(np.arange(PIXELS), list(parts[i]))[None]) for i in indices]
        if not self.write("asked", round=self.round, **fields):
            return
        self.round += 1
        for i in indices:
            sample = self.samples[i]
            sample.open = True
            if in_parts:
                sample.asked.append(parts[i])
                sample.last = i in last

    def answer(self):
        """A question, or say of a sample that was asked for once what is right."""
        for i in self.some(lambda sample: sample.open or (sample.told is not None and self.draws.random() < 0.1)):
            self.say(i)

    def tell_unasked(self):
        for i in self.some(lambda sample: not sample.asked)[:1]:
            self.say(i)

    def say(self, i):
        """A mask of all, in which pixels may be void, or a skip."""
        sample = self.samples[i]
        mask = self.draws.choices([0, 1, 2, VOID], k=PIXELS)
        if self.draws.random() < 0.2:
            mask = [VOID] * PIXELS
        said = SKIP if self.draws.random() < 0.1 else np.array([mask], dtype=np.uint8)
        if said is SKIP and sample.told is not None and not sample.open:
            return  # refused by `tell`
        if not sample.asked and said is not SKIP and set(mask) == {VOID}:
            return  # no label
        answers = of_asked(self.campaign, sort_answers({i: said}, region_task()))
        assert not answers.refused
        prices = functools.partial(prices_of, DatasetOracle(), region_task())
        write = functools.partial(write_answers, annotator_of=lambda _: "x", key_of=self.key, prices=prices)
        if self.killed(lambda: write(self.campaign, answers)):
            return
        if said is SKIP:
            sample.skipped, sample.open, sample.last = True, False, True
            return
        asked = sample.all_asked if sample.asked else set(range(PIXELS))
        before = sample.told if sample.told and sample.asked else {}
        told = {**before, **{p: mask[p] for p in asked if mask[p] != VOID}}
        sample.whole = not sample.asked
        if told:
            if sample.told is None:
                self.order.append(sample)
            sample.told, sample.skipped, sample.open = told, False, False
        elif sample.open:
            sample.open, sample.skipped = False, sample.last

    def release(self):
        indices = self.some(lambda sample: sample.open)
        if self.write("released", indices=indices):
            for sample in (self.samples[i] for i in indices):
                sample.open = False
                if sample.asked:
                    sample.asked.pop()
                    sample.last = False

    def forget(self):
        for i in self.some(lambda sample: sample.told is not None)[:1]:
            if self.write("forgotten", indices=[i]):
                self.order.remove(self.samples[i])
                self.samples[i] = PlainSample(skipped=True)

    def move(self):
        """The data come in another order, and there may be more."""
        size = len(self.samples)
        now = self.draws.sample(range(size), size)
        known = [i for i in range(size) if i in self.campaign.known]
        others = [i for i in range(size) if i not in known]
        free = [place for place in range(size) if place not in {now[i] for i in known}]
        places = {**{i: now[i] for i in known}, **dict(zip(others, free, strict=True))}
        fields = {"now": [now[i] for i in known], "keys": [f"moved {i}" for i in known]}
        larger = size + (size < 6)
        if self.write("moved", size=larger, root="/", indices=known, **fields):
            moved = [PlainSample() for _ in range(larger)]
            for i, sample in enumerate(self.samples):
                moved[places[i]] = sample
            self.samples = moved

    def check(self, campaign):
        pool = campaign.pool
        states = [[i for i, sample in enumerate(self.samples) if sample.state[column]] for column in range(4)]
        assert sorted(pool.labelled.tolist()) == states[0]
        assert [self.samples.index(sample) for sample in self.order] == pool.labelled.tolist()
        assert sorted(pool.pending.tolist()) == states[1]
        assert pool.skipped.tolist() == states[2]
        assert pool.unlabelled.tolist() == states[3]
        assert pool.counts() == (len(states[3]), len(states[1]), len(states[0]), len(states[2]))
        assert pool.askable.tolist() == [i for i, sample in enumerate(self.samples) if sample.may_be_asked]
        assert pool.spent == sum(len(sample.told or {}) for sample in self.samples)
        assert campaign.next_round == self.round
        for i, sample in enumerate(self.samples):
            told = {}
            if i in campaign.labels:
                values = mask_from_png(campaign.labels[i].data)[0]
                told = {p: int(v) for p, v in enumerate(values) if v != VOID}
            assert told == (sample.told or {})
            asked, opened = campaign.regions.all(i), campaign.regions.open(i)
            assert (asked is None) == (not sample.asked)
            if asked is not None:
                assert set(np.flatnonzero(asked[0]).tolist()) == sample.all_asked
            assert (opened is not None) == (sample.open and bool(sample.asked))
            if opened is not None:
                assert set(np.flatnonzero(opened[0]).tolist()) == sample.asked[-1]
                assert campaign.regions.pixels(i) == len(sample.asked[-1])


@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 6))])
def test_whatever_happens_the_ledger_says_what_plain_sets_say(tmp_path, seed):
    draws = random.Random(seed)
    for number in range(3):
        anyhow = Anyhow(tmp_path / str(number), draws)
        for _ in range(30):
            anyhow.step()
