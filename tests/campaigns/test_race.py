"""What a race picks is what each acquisition picks alone, by its definition and as a campaign of its own asks."""

import json

import lightning as L
import pytest
import torch

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import BALD, Entropy, Random
from lightning_al.loop.query import learn_for
from lightning_al.scoring.pick import Candidates, picks
from tests.helpers.marks import slow
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, make_data, make_trainer
from tests.helpers.registry import CASES, ONE_OF_EACH
from tests.helpers.scene import KEPT, LABELLED, SCENES, SIZE, Learner, prepare, write_tables

X, Y = make_data(SIZE)


class Racing(L.Callback):
    """Has all cases pick at once, from one pass, in a campaign that is otherwise Random's."""

    def __init__(self, folder, cases, scene):
        self.folder, self.cases, self.scene = folder, cases, SCENES[scene]

    def on_query_start(self, trainer, pl_module, loop):
        session = loop.session
        with torch.no_grad():
            loop.task.check(pl_module.eval(), make_data(2))  # the number of classes
        for name, state in KEPT.items():
            loop.campaign.states.save(loop.campaign.round_file(name), state)
        prepare(pl_module)
        made = [case.make(self.folder) for case in self.cases]
        candidates = Candidates(
            torch.tensor(self.scene.candidates),
            session.labelled,
            session.settings.seed,
            session.campaign.next_round,
            purpose=("contract", self.scene.seed),
        )
        for each in made:
            each.bind(loop.task, loop.oracle)
            learn_for(session, each, candidates)
        picked = picks(session.project, session.campaign.ranks, made, candidates, self.scene.k)
        pl_module.requires_grad_(True)
        if trainer.is_global_zero:
            by_case = {case.id: pick.indices for case, pick in zip(self.cases, picked, strict=True)}
            (self.folder / "picked.json").write_text(json.dumps(by_case))


def raced(folder, cases, scene, processes):
    """What each case picks in one race, by its id."""
    write_tables(folder)
    picked = {}
    for model in (Net, Learner):
        mine = [case for case in cases if case.model is model]
        if not mine:
            continue
        strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
        callback = Racing(folder, mine, scene)
        trainer = make_trainer(
            folder, callback, acquisition=Random(), strategy=strategy, devices=devices, max_epochs=1
        )  # fmt: skip
        made = model(batch_norm=True, dropout=0.3)
        ActiveLearningLoop(made, Data(SIZE), initial=LABELLED, query_size=1, rounds=1).run(trainer)
        picked |= json.loads((folder / "picked.json").read_text())
    return picked


QUICK = [case for case in ONE_OF_EACH if case.name in ("Entropy", "BADGE", "CoreSet", "EntropyGradNorm", "Random")]


def test_some_pick_from_a_shared_pass_what_their_definitions_say(tmp_path):
    picked = raced(tmp_path, QUICK, "some", 1)
    assert picked == {case.id: case.picks(SCENES["some"]) for case in QUICK}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("scene", ["some", "all that is left", "the only one"])
def test_all_of_all_options_pick_from_a_shared_pass_what_their_definitions_say(tmp_path, processes, scene):
    picked = raced(tmp_path, CASES, scene, processes)
    assert picked == {case.id: case.picks(SCENES[scene]) for case in CASES}


def campaign(folder, acquisition, processes, model=Frozen, **options):
    """A loop of a small project, and a Trainer for it."""
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    trainer = make_trainer(folder, acquisition=acquisition, strategy=strategy, devices=devices, max_epochs=1)
    options = {"initial": 8, "query_size": 4, "seed": 3, "dirpath": folder, **options}
    return ActiveLearningLoop(model(), Data(), **options), trainer


LIKE_ALONE = ("Entropy", "CoreSet")
OF_NET = [case for case in ONE_OF_EACH if case.model is Net]


@pytest.mark.parametrize(("names", "processes"), [(LIKE_ALONE, 1), slow(LIKE_ALONE, 2), slow(None, 1), slow(None, 2)])
def test_picks_are_those_that_campaigns_of_each_ask_for(tmp_path, names, processes):
    """With a sub-pool, whose draw is the campaign's."""
    write_tables(tmp_path)
    cases = [case for case in OF_NET if names is None or case.name in names]
    makers = {
        case.id: lambda case=case: BALD(add_dropout=0.5) if case.name == "BALD" else case.make(tmp_path)
        for case in cases
        if case.name not in ("MCDropout", "BatchBALD")  # of a model with dropout: BALD stands for them
    }
    options = {"subpool_size": 30, "model": Frozen}
    loop, trainer = campaign(tmp_path / "race", Random(), processes, **options)
    race = loop.race(trainer, {name: make() for name, make in makers.items()})
    assert race.candidates == 30
    for number, (name, make) in enumerate(makers.items()):
        alone, its_trainer = campaign(tmp_path / f"alone_{number}", make(), processes, **options)
        assert race[name].indices == alone.ask(its_trainer), name


@pytest.mark.parametrize("processes", [1, slow(2)])
def test_a_second_question_takes_what_was_kept(tmp_path, processes):
    loop, trainer = campaign(tmp_path / "c", Entropy(), processes)
    without, its_trainer = campaign(tmp_path / "d", Entropy(), processes, cache_gb=0)
    first = loop.ask(trainer)
    assert first == without.ask(its_trainer)
    assert list((tmp_path / "c" / "cache").glob("*/*.pt"))
    assert not (tmp_path / "d" / "cache").exists()
    second = loop.ask(trainer, 6)
    assert second == without.ask(its_trainer, 6)
    assert not {*first} & {*second}
