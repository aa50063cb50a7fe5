"""What every acquisition that chooses regions keeps to, by being in the registry; and masks as labels."""

import inspect
import json

import lightning as L
import numpy as np
import pytest
import torch

from lightning_al import acquisition
from lightning_al.acquisition import Random
from lightning_al.scoring.pick import Candidates
from lightning_al.scoring.regions import HowMany, RegionPicker, pick_regions
from lightning_al.tasks.mask_png import mask_from_png
from tests.helpers import reference
from tests.helpers.by_regions import (
    AREAS,
    CANDIDATES,
    REGION_CASES,
    REGION_REGISTRY,
    ROUND,
    SEED,
    asked_before,
    prepare,
)
from tests.helpers.processes import fork
from tests.helpers.projects import make_trainer
from tests.helpers.regions import IMAGES, Images, Pixels, region_loop

NAMES = [name for name in acquisition.__all__ if name != "Acquisition"]


@pytest.mark.parametrize("name", NAMES)
def test_every_acquisition_that_can_choose_regions_has_a_case(name):
    assert (name in REGION_REGISTRY) == getattr(acquisition, name)().has_region_scores, f"add {name}, or take it out"


OPTIONS = [
    (name, option)
    for name in REGION_REGISTRY
    for option in inspect.signature(getattr(acquisition, name)).parameters
    if option != "selection"  # of whole samples
]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_has_a_case(name, option):
    mine = [case for case in REGION_CASES if case.name == name]
    assert any(case.options.get(option, case.defaults[option]) != case.defaults[option] for case in mine)


class Picker(L.Callback):
    """Has every case pick from the same weights, in a campaign that is otherwise Random's."""

    def __init__(self, folder, cases, batch_sizes):
        self.folder, self.cases, self.batch_sizes = folder, cases, batch_sizes

    def on_query_start(self, trainer, pl_module, loop):
        asked, picked, changed, random_task = asked_before().numpy(), {}, [], loop.session.project.task
        session, project = loop.session, loop.session.project
        for case in self.cases:
            prepare(pl_module)
            for size in self.batch_sizes:
                loop.datamodule.pool_batch_size = size
                before = str(reference.snapshot(pl_module))
                made = case.make()
                made.bind(case.task, loop.oracle)
                how_many = HowMany(case.asking[1], case.task.per_image, images=IMAGES)
                picker = RegionPicker(
                    made, how_many, lambda n: asked[n] if asked[n].any() else None, seed=SEED, round=ROUND
                )
                among = Candidates(torch.tensor(CANDIDATES), session.labelled, SEED, ROUND, purpose=("contract",))
                found = pick_regions(
                    project, session.campaign.ranks, picker, among, lambda indices, sizes: len(indices)
                )
                if str(reference.snapshot(pl_module)) != before:
                    changed.append(case.id)
                regions = [mask_from_png(region.data).astype(bool).tolist() for region in found.regions]
                assert found.pixels == [int(np.sum(region)) for region in regions]
                picked[f"{case.id}, {size}"] = dict(zip(map(str, found.indices), regions, strict=True))
        assert loop.session.project.task is random_task
        if trainer.is_global_zero:
            (self.folder / "picked.json").write_text(json.dumps([picked, changed]))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    known = {}

    def of(processes, cases, batch_sizes=(3,)):
        key = (processes, tuple(case.id for case in cases), batch_sizes)
        if key not in known:
            folder = tmp_path_factory.mktemp("contract")
            strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
            callback = Picker(folder, cases, batch_sizes)
            trainer = make_trainer(
                folder, callback, acquisition=Random(), strategy=strategy, devices=devices, max_epochs=1
            )
            data = Images(areas=AREAS)
            region_loop(folder, Pixels(), data, initial=[1, 4], query_size=1, rounds=1, evaluate=None).run(trainer)
            known[key] = json.loads((folder / "picked.json").read_text())
        return known[key]

    return of


def check(picked, case, size=3):
    wanted = case.picks()
    got = {int(n): torch.tensor(region) for n, region in picked[f"{case.id}, {size}"].items()}
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[n], wanted[n]) for n in wanted)


QUICK = tuple(next(case for case in REGION_CASES if case.name == name) for name in ("RIPU", "Entropy", "Random"))


@pytest.mark.parametrize("case", QUICK, ids=[case.id for case in QUICK])
def test_picks_what_its_definition_says_and_leaves_everything_as_it_was(launched, case):
    picked, changed = launched(1, QUICK)
    check(picked, case)
    assert changed == []


ALL = pytest.mark.parametrize("case", REGION_CASES, ids=[case.id for case in REGION_CASES])


@pytest.mark.slow
@ALL
def test_all_pick_what_their_definition_says_in_batches_of_any_size(launched, case):
    picked, changed = launched(1, tuple(REGION_CASES), (3, 1, 64))
    for size in (3, 1, 64):
        check(picked, case, size)
    assert case.id not in changed


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("processes", [2, 3])
def test_all_pick_the_same_on_any_number_of_processes(launched, case, processes):
    check(launched(processes, tuple(REGION_CASES))[0], case)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_decides_what_is_picked(name, option):
    mine = [case for case in REGION_CASES if case.name == name and option in case.options]
    for case in mine:
        plain = {key: value for key, value in case.options.items() if key != option}
        if option == "radius" and case.asking[0] == {"regions": 1}:
            plain[option] = 1
        other = type(case)(case.name, case.oracle, plain, case.asking).picks()
        got = case.picks()
        if got.keys() != other.keys() or any(not torch.equal(got[n], other[n]) for n in got):
            return
    assert option == "variant", "no case needs the option"  # which decides ties alone
