from dataclasses import replace

import pytest
import yaml

from lightning_al.reproduction.diagnosing import found_by, jobs_of, outputs_of
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from lightning_al.reproduction.shown import SHOWN
from tests.helpers.recipes import RECIPES
from tests.helpers.results import chosen, write_runs
from tests.sweep.test_campaigns import finish


def test_the_campaigns_of_a_seed_are_looked_at_together_once_they_are_finished(tmp_path):
    choice, runs, needs = chosen(tmp_path, "toy/table-3")
    write_runs(runs, {"random": [[0.5, 0.6], [0.5, 0.6]]})
    write_runs(runs[:2], {"badge": [[0.5, 0.6]]})
    weights, out = f"{tmp_path}/out/runs/cubes+weights", f"{tmp_path}/out/diagnoses/cubes+weights/gap"
    jobs = jobs_of(choice, runs, needs, ("true",))
    assert [" ".join(job.words) for job in jobs] == [
        f"true diagnose {weights}/random/seed_0 {weights}/badge/seed_0 --show gap --output={out}/random+badge/seed_0",
        f"true diagnose {weights}/random/seed_1 --show gap --output={out}/random/seed_1",
    ]
    assert not jobs[0].is_done()
    assert jobs[0].end()
    assert jobs[0].is_done()
    assert not replace(jobs[0], words=(*jobs[0].words, "--rounds=1")).is_done()
    finish(jobs[0].campaigns[1], 1)  # a campaign that went on is looked at again
    assert not jobs[0].is_done()


def test_figures_are_those_of_all_seeds(tmp_path):
    choice, runs, needs = chosen(tmp_path, "toy/table-3")
    write_runs(runs, {"random": [[0.5, 0.6], [0.5, 0.6]]})
    write_runs(runs[:2], {"badge": [[0.5, 0.6]]})
    outputs = outputs_of(choice, runs)
    assert [folder.name for folder in outputs] == ["seed_0", "seed_1"]
    for folder, lines in zip(outputs, ("random,1,0.25\nbadge,1,0.5\n", "random,1,0.75\n"), strict=True):
        folder.mkdir(parents=True)
        (folder / "gap.csv").write_text(f"campaign,round,gap\n{lines}")
    assert [(row.method, row.published.mean, row.ours) for row in found_by(choice, runs, needs)] == [
        ("random", 9.5, [25.0, 75.0]),
        ("badge", 7.0, [50.0]),
    ]


def result_that_shows(choice, shows, **options):
    return replace(choice, result=replace(choice.result, shows=shows, options=options))


def words_of(tmp_path, shows, *, small=False, **options):
    choice, runs, needs = chosen(tmp_path, "toy/table-2", small=small, methods="random", seeds="1")
    write_runs(runs, {"random": [[0.5, 0.6]]})
    choice = result_that_shows(choice, shows, **options)
    return choice, [list(job.words[4:]) for job in jobs_of(choice, runs[:1], needs, ("true",))]


def test_rounds_that_a_result_names_are_looked_at(tmp_path):
    choice, words = words_of(tmp_path, "feature_map", rounds=[2, 4])
    out = choice.root / "diagnoses" / "cubes" / "tsne+rounds=2,4" / "random" / "seed_0"
    assert words == [["tsne", f"--output={out}", "--rounds=2,4"]]


def test_results_that_show_the_same_share_a_diagnosis(tmp_path):
    _, table = words_of(tmp_path, "bound_correlations")
    _, figure = words_of(tmp_path, "bound_terms")
    _, others = words_of(tmp_path, "label_kept")
    assert table == figure != others
    _, shares = words_of(tmp_path, "influence_overlap")
    _, bounds = words_of(tmp_path, "influence_bounds")  # of another loss
    assert shares[0][1] != bounds[0][1]


def test_the_small_form_looks_at_less(tmp_path):
    _, words = words_of(tmp_path, "perturbed_losses")
    assert words[0][2:] == []
    _, words = words_of(tmp_path, "perturbed_losses", small=True)
    assert words[0][2:] == ["--samples=500"]


@pytest.mark.parametrize(
    ("shows", "options"),
    [
        ("bound_terms", ["--rounds=0,5,-1"]),
        ("term_correlations", ["--rounds=0,5,-1"]),
        ("influence_bounds", ["--loss=entropy", "--rounds=0,1,2", "--samples=200", "--held-out=200"]),
        ("influence_overlap", ["--rounds=0,1,2", "--samples=200", "--held-out=200"]),
        ("loss_landscape", ["--rounds=-1", "--samples=500", "--points=11"]),
    ],
)
def test_the_small_form_looks_at_some_rounds(tmp_path, shows, options):
    _, words = words_of(tmp_path, shows, small=True)
    assert words[0][2:] == options


def test_small_protocols_have_the_rounds_that_are_looked_at():
    needs = Needs(RECIPES)
    looked_at = 0
    for result in read_results(RECIPES).values():
        small = SHOWN[result.shows].small if result.shows in SHOWN else ()
        [rounds] = [word.partition("=")[2] for word in small if word.startswith("--rounds=")] or [""]
        for case in (case for case in result.cases.values() if case.small and rounds):
            last = needs.recipe(case, small=True)["loop"]["rounds"]
            assert max(map(int, rounds.split(","))) <= last, (result.id, case.name)
            looked_at += 1
    assert looked_at >= 6


def test_another_network_is_the_protocols_model_with_its_net_exchanged(tmp_path):
    for small, net in (
        (False, {"class_path": "ResNet50", "init_args": {"num_classes": 2, "in_channels": 3}}),
        (True, {"class_path": "ResNet18", "init_args": {"num_classes": 2, "in_channels": 3, "width": 8}}),
    ):
        choice, words = words_of(tmp_path, "other_architecture", small=small)
        file = choice.folder / "cubes_other_model.yaml"
        assert words[0][2:] == ["--rounds=-1", f"--model={file}"]
        model = yaml.safe_load(file.read_text())["model"]
        assert model["init_args"]["net"] == net
        assert model["init_args"]["optimizer"]["init_args"] == {"lr": 0.5}
