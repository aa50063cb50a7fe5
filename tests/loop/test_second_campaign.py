"""A second campaign in one process begins as the first did, or says that it does not."""

import copy
import pickle
import warnings

import pytest

from lightning_al import AwaitTell
from lightning_al.fitting.initial_weights import notes_of, take_notes, warn_of_weights_left
from tests.helpers.processes import fork
from tests.helpers.projects import Net, loop_in, make_trainer, picks

SAID = "begins with the weights that the one in"


class Interrupted(Net):
    """Whoever runs it stops it in its second epoch."""

    stops = True

    def on_train_epoch_start(self):
        if self.stops and self.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture
def begins(tmp_path):
    """Runs a campaign of two fits in a folder of its own, and returns its picks and what was said of its weights."""

    def run(name, model, trainer=None, **options):
        loop = loop_in(tmp_path / name, model, rounds=1, **options)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            history = loop.run(trainer or make_trainer(tmp_path, max_epochs=1))
        return picks(history), [str(w.message) for w in said if SAID in str(w.message)]

    return run


def test_the_same_module_again_is_told_of_and_a_new_one_begins_alike(tmp_path, begins):
    model = Net()
    beforehand = copy.deepcopy(model)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    first, nothing = begins("a", model)
    assert nothing == []
    weights = copy.deepcopy(model.state_dict())
    _, [said] = begins("b", model)
    assert f"the one in {tmp_path / 'a/c'} trained (in `net.0`)" in said
    assert begins("c", beforehand) == (first, [])
    model.load_state_dict(initial)
    assert begins("d", model) == (first, [])
    other = Net()
    other.load_state_dict(weights)  # on purpose
    assert begins("e", other)[1] == []
    _, [said] = begins("f", other)
    assert str(tmp_path / "e/c") in said


def test_another_module_around_the_same_network(begins):
    model, other = Net(), Net()
    begins("a", model)
    other.net[-1] = model.net[-1]
    _, [said] = begins("b", other)
    assert "(in `net.4`)" in said


def test_the_same_loop_in_another_folder(tmp_path):
    loop = loop_in(tmp_path, rounds=0)
    loop.run(make_trainer(tmp_path, max_epochs=1))
    loop.dirpath = tmp_path / "d"
    with pytest.warns(UserWarning, match=SAID):
        loop.run(make_trainer(tmp_path, max_epochs=1), resume=True)


def test_a_fit_that_was_interrupted(tmp_path, begins):
    model = Interrupted()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        loop_in(tmp_path, model).run(make_trainer(tmp_path))
    model.stops = False
    _, [said] = begins("b", model)
    assert str(tmp_path / "c") in said


@pytest.mark.slow
def test_nothing_is_said_of_one_campaign_or_of_what_others_trained(tmp_path, begins):
    model = Net()
    loop = loop_in(tmp_path, model)
    make_trainer(tmp_path, max_epochs=1).fit(model, loop.datamodule.datamodule)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{SAID}")
        loop.run(make_trainer(tmp_path, max_epochs=1))
        loop_in(tmp_path, model, rounds=3).run(make_trainer(tmp_path, max_epochs=1), resume=True)
        assert len(loop_in(tmp_path, model, rounds=4).ask(make_trainer(tmp_path, max_epochs=1))) == 4
        untrained = Net()
        for name in ("x", "y"):  # which ask for the initial set, and train nothing
            loop_in(tmp_path / name, untrained, oracle=AwaitTell()).ask(make_trainer(tmp_path))
    assert begins("z", untrained)[1] == []


def test_a_copy_of_the_process_knows_what_this_one_noted(begins):
    model = Net()
    begins("a", model)
    spawned, notes = pickle.loads(pickle.dumps((copy.deepcopy(model.net), notes_of(model.net))))
    assert notes_of(spawned) == {}
    take_notes(spawned, notes)
    with pytest.warns(UserWarning, match=r"\(in `0`\)"):
        warn_of_weights_left(spawned)


@pytest.mark.slow
def test_processes_that_are_copies(tmp_path):
    model = Net()

    def run(name):
        strategy, devices = fork(2)
        trainer = make_trainer(tmp_path, strategy=strategy, devices=devices, max_epochs=1)
        loop_in(tmp_path / name, model, rounds=0).run(trainer)

    run("a")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{SAID}")  # in the copies, which hand errors back alone
        with pytest.raises(Exception, match=f"{SAID} {tmp_path / 'a/c'} trained"):
            run("b")
