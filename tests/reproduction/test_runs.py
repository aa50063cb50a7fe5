from tests.helpers.results import chosen, write_runs


def words(run, tmp_path):
    return " ".join(run.job.words).replace(f"{tmp_path}/", "")


def test_runs_have_their_recipes_options_and_folders(tmp_path):
    choice, runs, _ = chosen(tmp_path, "toy/table-1", overrides=["--trainer.max_epochs=1"])
    given = "--data.root=given --trainer.max_epochs=1"
    adam, sam = "out/runs/cubes", "out/runs/cubes+sam+snr=0.05"
    assert choice.folder == tmp_path / "out" / "toy" / "table-1"
    assert [(run.case, run.method, run.seed) for run in runs[:5]] == [
        *(
            ("cubes-adam", "random", 0),
            ("cubes-adam", "badge", 0),
            ("cubes-sam", "random", 0),
            ("cubes-sam", "badge", 0),
        ),
        ("cubes-adam", "random", 1),
    ]
    assert [words(run, tmp_path) for run in runs[1:4]] == [
        "true run -c recipes/cubes.yaml -c recipes/acquisitions/badge.yaml "
        f"{given} --loop.seed=0 --loop.dirpath={adam}/badge/seed_0 --resume",
        "true run -c recipes/cubes.yaml -c recipes/acquisitions/random.yaml -c recipes/training/sam.yaml "
        f"--data.snr=0.05 {given} --loop.seed=0 --loop.dirpath={sam}/random/seed_0 --resume",
        "true run -c recipes/cubes.yaml -c recipes/acquisitions/badge.yaml -c recipes/training/sam_of_badge.yaml "
        f"--data.snr=0.05 --trainer.callbacks.rho=0.04 {given} --loop.seed=0 "
        f"--loop.dirpath={sam}/badge+rho=0.04/seed_0 --resume",
    ]
    assert len({run.job.log for run in runs}) == len(runs)


def test_the_small_form_has_recipes_of_its_own(tmp_path):
    choice, runs, _ = chosen(tmp_path, "toy/table-1", only="sam", methods="badge", small=True, seeds="1")
    assert choice.folder == tmp_path / "out" / "toy" / "table-1_small"
    assert words(runs[0], tmp_path) == (
        "true run -c recipes/small.yaml -c recipes/acquisitions/badge_small.yaml -c recipes/training/"
        "sam_of_badge_small.yaml --data.snr=0.05 --trainer.callbacks.rho=0.04 --data.root=given --loop.seed=0 "
        "--loop.dirpath=out/runs/small+sam_small+snr=0.05/badge_small+rho=0.04/seed_0 --resume"
    )


def test_results_of_the_same_runs_share_their_folders(tmp_path):
    _, runs, _ = chosen(tmp_path, "toy/table-1")
    _, of_figure, _ = chosen(tmp_path, "toy/figure-1")
    assert [run.folder for run in runs] == [run.folder for run in of_figure]


def test_weights_are_kept_where_a_diagnosis_needs_them_and_apart_from_runs_without(tmp_path):
    _, runs, _ = chosen(tmp_path, "toy/table-3")
    assert all("--loop.keep_weights=true" in run.job.words for run in runs)
    assert {run.folder.parent.parent.name for run in runs} == {"cubes+weights"}


def test_all_labels_are_one_run(tmp_path):
    _, runs, _ = chosen(tmp_path, "toy/table-2", overrides=["--loop.rounds=1", "--trainer.max_epochs=1"])
    assert ["--loop.rounds=1" in run.job.words for run in runs[:3]] == [True, True, False]
    assert all("--trainer.max_epochs=1" in run.job.words for run in runs)
    assert [(run.method, run.seed) for run in runs] == [
        *(("random", 0), ("badge", 0), ("full_data", 0)),
        *(("random", 1), ("badge", 1)),
    ]


def test_a_run_is_finished_once_its_campaign_is(tmp_path):
    _, runs, _ = chosen(tmp_path, "toy/table-1", only="cubes-adam", seeds="1")
    write_runs(runs, {"badge": [[0.5, 0.6]]})
    assert [run.is_finished for run in runs] == [False, True]
