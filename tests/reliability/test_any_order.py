"""Ask, tell, skip, give back, know, save, kill and load in any order, beside a plain model of the pool."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import Entropy, Random
from lightning_al.campaign import INITIAL_ROUND
from tests.helpers.extent import share_of
from tests.helpers.projects import Data, Net, make_trainer


class Killed(BaseException):
    """Comes where a kill would, and nothing may catch it."""


@contextlib.contextmanager
def killed_at_rename(number, half):
    """Inside, the ``number``-th file, from 1, does not get its name, and is there in half if ``half``.

    A number of 0: nothing happens.
    """
    renamed, unlink = Path.replace, Path.unlink
    left = [number]
    dead = []

    def replace(path, new):
        left[0] -= 1
        if left[0] == 0:
            dead.append(path)
            if half:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise Killed
        return renamed(path, new)

    def stay(path, missing_ok=False):
        if path not in dead:  # a killed process cleans nothing up
            unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        patch.setattr(Path, "unlink", stay)
        yield


class PlainPool:
    """Four sets, the labels in the order in which they came, and what a training set has too, which hides the rest."""

    def __init__(self, size):
        self.unlabelled = set(range(size))
        self.pending, self.skipped, self.known = set(), set(), set()
        self.labels = {}

    def ask(self, indices):
        assert len(set(indices)) == len(indices)
        assert set(indices) <= self.unlabelled
        self.unlabelled -= set(indices)
        self.pending |= set(indices)

    def release(self, indices):
        assert set(indices) <= self.pending
        self.pending -= set(indices)
        self.unlabelled |= set(indices)

    def tell(self, index, label):
        if label is SKIP:
            self.skipped.add(index)
        else:
            self.labels[index] = label
            self.skipped.discard(index)
        self.unlabelled.discard(index)
        self.pending.discard(index)

    def check(self, campaign):
        pool = campaign.pool
        unlabelled, pending, labelled, skipped = (
            getattr(pool, name).tolist() for name in ("unlabelled", "pending", "labelled", "skipped")
        )
        assert unlabelled == sorted(self.unlabelled - self.known)
        assert sorted(pending) == sorted(self.pending - self.known)
        assert labelled == [index for index in self.labels if index not in self.known]
        assert skipped == sorted(self.skipped - self.known)
        assert pool.known.tolist() == sorted(self.known)
        assert campaign.labels == self.labels
        assert pool.spent == len(self.labels)
        assert sorted(unlabelled + pending + labelled + skipped + pool.known.tolist()) == list(range(len(pool)))
        assert pool.counts() == (len(unlabelled), len(pending), len(labelled), len(skipped))


STATES = ["ask", "label", "skip", "release", "know"]


class LedgerMachine(RuleBasedStateMachine):
    """The pool and the ledger alone."""

    @initialize(size=st.integers(1, 12))
    def begin(self, size):
        self.folder = Path(tempfile.mkdtemp())
        self.model = PlainPool(size)
        self.size = size
        self.round = INITIAL_ROUND
        self.campaign = Campaign(self.folder, Campaign.create(self.folder, size=size, options={}))

    def write(self, kind, kill, half, **fields):
        """Write an event, or be killed on the way. Returns whether it is there."""
        try:
            with killed_at_rename(kill, half):
                self.campaign.apply(self.campaign.write(kind, **fields))
        except Killed:
            self.load()
            return False
        return True

    indices = st.lists(st.integers(0, 11), unique=True, max_size=5)
    kills = st.integers(0, 3).map(lambda n: int(n == 1))

    @rule(indices=indices, kill=kills, half=st.booleans())
    def ask(self, indices, kill, half):
        known = [i for i in indices if i < self.size]
        fields = {"round": self.round, "indices": known, "keys": [str(i) for i in known], "scores": [], "seconds": {}}
        if set(known) <= self.model.unlabelled - self.model.known:
            if self.write("asked", kill, half, **fields):
                self.model.ask(known)
                self.round += 1
        else:
            with pytest.raises(ValueError, match="Only unlabelled units can be asked for"):
                self.campaign.pool.ask(known)

    @rule(indices=indices, label=st.integers(0, 2), kill=kills, half=st.booleans())
    def tell(self, indices, label, kill, half):
        known = [i for i in indices if i < self.size]
        fields = {"indices": known, "keys": [None] * len(known), "labels": [label] * len(known), "annotator": "x"}
        if self.write("answered", kill, half, **fields):
            for index in known:
                self.model.tell(index, label)

    @rule(indices=indices, kill=kills, half=st.booleans())
    def skip(self, indices, kill, half):
        known = [i for i in indices if i < self.size]
        if self.write("skipped", kill, half, indices=known, annotator="x"):
            for index in known:
                if index not in self.model.labels:
                    self.model.tell(index, SKIP)

    @rule(data=st.data(), indices=indices, kill=kills, half=st.booleans())
    def release(self, data, indices, kill, half):
        known = [i for i in indices if i < self.size]
        waiting = sorted(self.model.pending - self.model.known)
        if waiting and data.draw(st.booleans()):
            known = data.draw(st.lists(st.sampled_from(waiting), unique=True))
        if set(known) <= set(waiting):
            if self.write("released", kill, half, indices=known):
                self.model.release(known)
        else:
            with pytest.raises(ValueError, match="Only pending units can be given back"):
                self.campaign.pool.release(known)

    @rule(indices=indices, kill=kills, half=st.booleans())
    def know(self, indices, kill, half):
        """In place of what was known before."""
        known = sorted(i for i in indices if i < self.size)
        if self.write("known", kill, half, size=len(known), digest="0" * 16, indices=known):
            self.model.known = set(known)

    @rule(wrong=st.sampled_from([[0, 0], [-1], [12], [True], [0.5], ["0"]]), what=st.sampled_from(STATES))
    def refuse(self, wrong, what):
        with pytest.raises((ValueError, IndexError, TypeError), match="Dataset indices must be"):
            getattr(self.campaign.pool, what)(wrong)

    @rule(name=st.sampled_from(["000099-asked.json.tmp", "000001-answered.json.tmp", "notes.txt"]))
    def something_lies_in_the_ledger(self, name):
        (self.folder / "ledger" / name).write_text('{"kind": "answ')

    @rule()
    def load(self):
        self.campaign = Campaign.load(self.folder)

    @invariant()
    def both_agree(self):
        if hasattr(self, "folder"):
            self.model.check(self.campaign)
            self.model.check(Campaign.load(self.folder))
            assert self.campaign.next_round == self.round

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


SIZE, INITIAL = 14, 3
LEFTOVERS = ["ledger/000099-asked.json.tmp", "initial.ckpt.tmp", "round_1/weights_12345678.ckpt.tmp"]


class LoopMachine(RuleBasedStateMachine):
    """The whole loop, with fits."""

    @initialize(
        acquisition=st.sampled_from([Entropy, Random]), reset=st.sampled_from(["initial", "warm", "continue", "fresh"])
    )
    def begin(self, acquisition, reset):
        self.folder = Path(tempfile.mkdtemp())
        self.make, self.reset = acquisition, reset
        self.model = PlainPool(SIZE)
        self.opened = False
        self.open()

    def open(self):
        """Begin again, as another process does after a kill."""
        self.loop = ActiveLearningLoop(
            Net(), Data(SIZE), initial=INITIAL, query_size=2, reset=self.reset, oracle=AwaitTell(), seed=1,
            dirpath=self.folder / "c",
        )  # fmt: skip
        self.trainer = make_trainer(self.folder, acquisition=self.make(), max_epochs=1)

    def ledger(self):
        return Campaign.load(self.folder / "c")

    def after_kill(self, count):
        """What a killed question left: it is in the ledger or it is not."""
        if Campaign.exists(self.folder / "c"):
            new = set(self.ledger().pool.pending.tolist()) - self.model.pending
            assert len(new) in (0, count)
            self.model.ask(sorted(new))
            self.opened = True
        self.open()

    @rule(k=st.integers(1, 4), kill=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]), half=st.booleans())
    def ask(self, k, kill, half):
        begins = not self.model.labels  # the initial set, or another where all of it was skipped
        count = min(INITIAL if begins else k, len(self.model.unlabelled))
        try:
            with killed_at_rename(kill, half):
                picked = self.loop.ask(self.trainer, k)
        except Killed:
            self.after_kill(count)
            return
        except RuntimeError as error:
            known = ("Nothing is labelled yet", "were skipped")
            assert begins and any(words in str(error) for words in known)  # noqa: PT017, PT018
            assert self.model.pending or not self.model.unlabelled
            return
        except ValueError as error:
            assert k > len(self.model.unlabelled)
            assert "is more than the pool has left" in str(error)  # noqa: PT017
            return
        if begins and self.model.pending:  # asked before a kill, told now
            assert set(picked) == self.model.pending
        else:
            assert len(picked) == count
            self.model.ask(picked)
        self.opened = True

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), kill=st.sampled_from([0, 0, 0, 1, 2]), half=st.booleans())
    def tell(self, data, kill, half):
        """Answers to questions, in parts, corrections, and labels that nobody asked for."""
        indices = data.draw(st.lists(st.integers(0, SIZE - 1), unique=True, min_size=1, max_size=4))
        if self.model.pending and data.draw(st.booleans()):
            indices = data.draw(st.lists(st.sampled_from(sorted(self.model.pending)), unique=True, min_size=1))
        labels = data.draw(st.lists(st.sampled_from([0, 1, 2, SKIP]), min_size=len(indices), max_size=len(indices)))
        if any(i in self.model.labels and label is SKIP for i, label in zip(indices, labels, strict=True)):
            with pytest.raises(ValueError, match="`SKIP` cannot take back a label"):
                self.loop.tell(indices, labels)
            return
        told = [(i, label) for i, label in zip(indices, labels, strict=True) if label is not SKIP]
        skipped = [(i, label) for i, label in zip(indices, labels, strict=True) if label is SKIP]
        events = [event for event in (told, skipped) if event]  # in this order
        try:
            with killed_at_rename(kill, half):
                self.loop.tell(indices, labels)
        except Killed:
            events = events[: kill - 1]
            self.open()
        for index, label in (answer for event in events for answer in event):
            self.model.tell(index, label)

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), kill=st.sampled_from([0, 0, 1]), half=st.booleans())
    def release(self, data, kill, half):
        indices = data.draw(st.lists(st.integers(0, SIZE - 1), unique=True, max_size=3))
        if self.model.pending and data.draw(st.booleans()):
            indices = data.draw(st.lists(st.sampled_from(sorted(self.model.pending)), unique=True))
        if not set(indices) <= self.model.pending:
            with pytest.raises(ValueError, match="Only pending units can be given back"):
                self.loop.release(indices)
            return
        try:
            with killed_at_rename(kill, half):
                self.loop.release(indices)
        except Killed:
            self.open()
            return
        self.model.release(indices)

    @rule()
    def kill(self):
        self.open()

    @rule(name=st.sampled_from(LEFTOVERS))
    def something_half_written_lies_there(self, name):
        path = self.folder / "c" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PK")

    @precondition(lambda self: self.opened and self.model.labels and not self.model.pending)
    @rule()
    def run(self):
        """Which is a question, where people answer; with nothing left to ask for, the end."""
        self.loop.run(self.trainer, resume=True)
        count = min(2, len(self.model.unlabelled))
        assert self.loop.status == ("waiting" if count else "finished")
        asked = self.ledger().pool.pending.tolist()
        assert len(asked) == count
        self.model.ask(asked)

    @invariant()
    def both_agree(self):
        if not getattr(self, "opened", False):
            return
        self.model.check(self.ledger())
        if self.loop.campaign is not None:
            self.model.check(self.loop.campaign)
        asked = set()
        for event in Campaign.read_events(self.folder / "c"):
            if event["kind"] == "asked":
                assert not asked & set(event["indices"])
                asked |= set(event["indices"])
            elif event["kind"] == "released":
                asked -= set(event["indices"])

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=share_of(25), stateful_step_count=25, deadline=None)
TestLoop = LoopMachine.TestCase
TestLoop.settings = settings(
    max_examples=share_of(8), stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
