"""What every acquisition keeps to, by being in the registry: it picks what its definition says, whatever runs it."""

import inspect
import json
import random

import lightning as L
import numpy as np
import pytest
import torch

from lightning_al import ActiveLearningLoop, acquisition
from lightning_al.acquisition import Acquisition, Random
from tests.helpers import reference
from tests.helpers.picking import pick
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_data, make_trainer
from tests.helpers.registry import CASES, OF_REGIONS, ONE_OF_EACH, REGISTRY
from tests.helpers.scene import KEPT, LABELLED, SCENES, SIZE, Learner, prepare, write_tables

NAMES = [name for name in acquisition.__all__ if name not in ("Acquisition", *OF_REGIONS)]


# ---------------------------------------------------------------------------------------------- the registry itself


@pytest.mark.parametrize("name", NAMES)
def test_every_acquisition_has_a_case(name):
    assert name in REGISTRY, f"add {name} to the registry"
    assert issubclass(getattr(acquisition, name), Acquisition)


OPTIONS = [(name, option) for name in NAMES for option in inspect.signature(getattr(acquisition, name)).parameters]


def cases_of(name, option):
    return [c for c in CASES if c.name == name and c.options.get(option, c.defaults[option]) != c.defaults[option]]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_has_a_case(name, option):
    assert cases_of(name, option), f"add a case with another `{option}` to the registry of {name}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_decides_what_is_picked(name, option):
    scene, mine = SCENES["some"], cases_of(name, option)
    assert any(case.picks(scene) != case.without(option).picks(scene) for case in mine), "no case needs the option"


@pytest.mark.parametrize("name", acquisition.__all__)
def test_options_are_kept_under_their_names(name):
    """So that a logger or the ledger can say with what a campaign ran."""
    made = getattr(acquisition, name)()
    for option, parameter in inspect.signature(type(made)).parameters.items():
        assert getattr(made, option) == parameter.default


def test_the_oracles_that_draw_need_the_seed():
    by_seed = [SCENES["some"], SCENES["some, with another seed"]]
    for name in ("Random", "BADGE", "SAAL"):
        case = next(c for c in CASES if c.name == name)
        assert len({tuple(case.picks(scene)) for scene in by_seed}) == 2


# --------------------------------------------------------------------------------------------------------- the contract


def everything(trainer, net, acquired):
    """All that a query must leave as it was."""
    modules = [net, acquired.encoder] if isinstance(getattr(acquired, "encoder", None), torch.nn.Module) else [net]
    return str(
        [
            [reference.snapshot(module) for module in modules],
            list(trainer.callbacks),
            (np.random.get_state()[1].tolist(), random.getstate()),
        ]
    )


class Picker(L.Callback):
    """Has every case pick from the same weights, in a campaign that is otherwise Random's."""

    def __init__(self, folder, scenes, batch_sizes, cases):
        self.folder, self.scenes, self.batch_sizes, self.cases = folder, scenes, batch_sizes, cases
        self.picked: dict[str, dict[str, list[int]]] = {}
        self.changed: list[str] = []

    def on_query_start(self, trainer, pl_module, loop):
        with torch.no_grad():
            loop.task.check(pl_module.eval(), make_data(2))  # the number of classes
        for name, state in KEPT.items():
            loop.campaign.states.save(loop.campaign.round_file(name), state)
        for case in self.cases:
            prepare(pl_module)
            made = case.make(self.folder)
            made.bind(loop.task, loop.oracle)
            for size in self.batch_sizes:
                loop.datamodule.pool_batch_size = size
                for name, scene in self.scenes.items():
                    before = everything(trainer, pl_module, made)
                    candidates = torch.tensor(scene.candidates)
                    got = pick(loop.session, made, candidates, scene.k, purpose=("contract", scene.seed))
                    if everything(trainer, pl_module, made) != before:
                        self.changed.append(case.id)
                    self.picked.setdefault(case.id, {})[f"{name}, {size}"] = got.indices
        pl_module.requires_grad_(True)
        if trainer.is_global_zero:
            (self.folder / "picked.json").write_text(json.dumps([self.picked, self.changed]))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What was picked in a launch of some processes; made once for each."""
    folder = tmp_path_factory.mktemp("contract")
    write_tables(folder)
    known = {}

    def of(processes, scenes=tuple(SCENES), batch_sizes=(7,), cases=tuple(CASES), **loader):
        key = (processes, scenes, batch_sizes, tuple(case.id for case in cases), *loader.items())
        if key not in known:
            known[key] = None
            picked, changed = {}, []
            for model in (Net, Learner):
                mine = [case for case in cases if case.model is model]
                if not mine:
                    continue
                strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
                picker = Picker(folder, {name: SCENES[name] for name in scenes}, batch_sizes, mine)
                trainer = make_trainer(
                    folder, picker, acquisition=Random(), strategy=strategy, devices=devices, max_epochs=1
                )
                made = model(batch_norm=True, dropout=0.3)
                loop = ActiveLearningLoop(made, Data(SIZE, **loader), initial=LABELLED, query_size=1, rounds=1)
                loop.run(trainer)
                some = json.loads((folder / "picked.json").read_text())
                picked, changed = {**picked, **some[0]}, [*changed, *some[1]]
            known[key] = picked, changed
        assert known[key] is not None, "the launch failed"
        return known[key]

    return of


@pytest.fixture(scope="module")
def wanted():
    known = {}

    def of(case, scene):
        if (case.id, scene) not in known:
            known[case.id, scene] = case.picks(SCENES[scene])
        return known[case.id, scene]

    return of


# ------------------------------------------------------------------ one case of each acquisition; then, slowly, all

QUICK = (*ONE_OF_EACH, *(case for case in CASES if case.id in ("Entropy(selection=badge)", "CoreSet(encoder=.npy)")))
EACH = pytest.mark.parametrize("case", QUICK, ids=[case.id for case in QUICK])
ALL = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
FEW = ("some", "the only one")


@pytest.mark.few(4)
@EACH
def test_each_picks_what_its_definition_says_in_batches_of_any_size(launched, wanted, case):
    picked = launched(1, FEW, (7, 64), QUICK)[0][case.id]
    for name in FEW:
        assert picked[f"{name}, 7"] == picked[f"{name}, 64"] == wanted(case, name)


@EACH
def test_each_picks_the_same_on_two_processes(launched, wanted, case):
    picked = launched(2, ("some",), (7,), QUICK)[0][case.id]
    assert picked["some, 7"] == wanted(case, "some")


@EACH
def test_each_leaves_everything_as_it_was(launched, case):
    assert case.id not in launched(1, FEW, (7, 64), QUICK)[1]


def test_the_number_of_workers_does_not_matter(launched, wanted):
    two = tuple(case for case in ONE_OF_EACH if case.name in ("Entropy", "CoreSet"))
    picked = launched(1, ("some",), cases=two, num_workers=2)[0]
    assert [picked[case.id]["some, 7"] for case in two] == [wanted(case, "some") for case in two]


WHERE = {1: tuple(SCENES), 2: ("some", "all that is left"), 3: ("some", "one of fewer than there are processes")}


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("processes", WHERE)
def test_picks_what_the_definition_says_on_any_number_of_processes(launched, wanted, case, processes):
    picked = launched(processes, WHERE[processes])[0][case.id]
    for name in WHERE[processes]:
        scene, got = SCENES[name], picked[f"{name}, 7"]
        assert len(set(got)) == len(got) == scene.k
        assert set(got) <= set(scene.candidates)
        assert got == wanted(case, name)


@pytest.mark.slow
@ALL
def test_the_size_of_scoring_batches_does_not_matter(launched, wanted, case):
    picked = launched(1, ("some",), (1, 64))[0][case.id]
    assert picked["some, 1"] == picked["some, 64"] == wanted(case, "some")


@pytest.mark.slow
@EACH
def test_the_number_of_workers_matters_to_none(launched, wanted, case):
    picked = launched(1, ("some",), cases=QUICK, num_workers=2)[0][case.id]
    assert picked["some, 7"] == wanted(case, "some")


@pytest.mark.slow
@ALL
def test_leaves_everything_as_it_was(launched, case):
    assert case.id not in launched(1, WHERE[1])[1]
