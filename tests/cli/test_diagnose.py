"""`lightning-al diagnose`: tables and pictures from folders."""

import csv
import inspect
from pathlib import Path

import pytest

from lightning_al.campaign.results import RoundResult
from lightning_al.cli import main
from lightning_al.cli.commands import DIAGNOSES
from lightning_al.cli.diagnose import OPEN, _digest, names_of
from tests.helpers.marks import slow

RECIPE = """
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: Entropy
model:
  class_path: tests.helpers.projects.Net
  init_args:
    batch_norm: true
data:
  class_path: tests.helpers.projects.Data
loop:
  initial: 8
  query_size: 4
  rounds: 2
  evaluate: test
  keep_weights: true
  dirpath: runs/entropy/seed_0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a campaign that the command line ran, and one that kept nothing beside it."""
    root = tmp_path_factory.mktemp("diagnose")
    (root / "recipe.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("sys.argv", ["lightning-al"])
        main(["run", "-c", "recipe.yaml"])
        main(["run", "-c", "recipe.yaml", "--loop.keep_weights=false", "--loop.dirpath=runs/bare/seed_0"])
    return root


@pytest.fixture
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["lightning-al"])
    return folder


def test_all_that_is_listed_can_be_shown():
    assert set(DIAGNOSES) == {*OPEN, "seconds", "transfer"}
    options = {name for function in OPEN.values() for name in inspect.signature(function).parameters}
    assert options - {"campaigns"} <= {
        "samples", "held_out", "rho", "radii", "perturbation", "norm", "span", "points", "seed", "loss", "damping",
        "k", "bins", "steps", "schemes", "layer", "perplexity",
    }  # fmt: skip


def test_a_table_a_file_and_a_picture(there, capsys):
    before = sorted(Path("runs").rglob("*"))
    main(["diagnose", "runs/entropy/seed_0", "--show", "gap", "seconds", "--rounds", "0,-1", "--output", "out"])
    said = capsys.readouterr().out
    assert "## Accuracy on training and test samples" in said
    assert "## Time of trainings and queries" in said
    assert "With fewer than 5 seeds of each method nothing can be concluded." in said
    with Path("out/gap.csv").open() as file:
        assert [row[:3] for row in csv.reader(file)][1:] == [["entropy", "0", "8"], ["entropy", "2", "16"]]
    assert Path("out/gap.png").is_file()
    assert Path("out/seconds.png").is_file()
    assert sorted(Path("runs").rglob("*")) == before


@pytest.mark.slow
def test_everything_of_two_campaigns(there, capsys):
    main(["run", "-c", "recipe.yaml", "--trainer.callbacks=Random", "--loop.dirpath=runs/random/seed_0"])
    words = ["runs/entropy/seed_0", "runs/random/seed_0", "--samples", "6", "--points", "3", "--held-out", "10"]
    shown = [name for name in DIAGNOSES if name != "transfer"]
    main(["diagnose", *words, "--show", *shown])
    output = Path("runs/entropy/seed_0/diagnoses")
    names = {path.stem for path in output.glob("*.png")}
    assert names == {
        *set(shown) - {"influence"}, "bound_scores", "bound_terms", "bound_overlap", "influence_overlap",
        "influence_bounds",
    }  # fmt: skip
    assert {path.stem for path in output.glob("*.csv")} == names
    for name in names:
        with (output / f"{name}.csv").open() as file:
            assert {row[0] for row in list(csv.reader(file))[1:]} == {"entropy", "random"}
    assert "nan" not in capsys.readouterr().out


@pytest.mark.slow
def test_another_model_on_the_picks(there, capsys):
    model = "model:\n  class_path: tests.helpers.projects.Net\n  init_args:\n    lr: 0.2\n"
    Path("other.yaml").write_text(model)
    words = ["diagnose", "runs/entropy/seed_0", "--show", "transfer", "--model", "other.yaml", "--output", "out"]
    main(words)
    first = capsys.readouterr().out
    assert "| entropy  | 2     | 16     | test_acc |" in first
    assert len(list(Path("out/transfer/entropy").glob("round_*/ledger"))) == 3
    main(words)  # what was trained is not trained again
    assert capsys.readouterr().out.split("## ")[1] == first.split("## ")[1]


@pytest.mark.slow
def test_an_edited_model_is_trained_anew(there, monkeypatch):
    trained = []
    monkeypatch.setattr(
        "lightning_al.cli.diagnose.ActiveLearningLoop",
        lambda model, data, *, dirpath, **options: trained.append((model.lr, dirpath)) or Untrained(),
    )
    words = ["diagnose", "runs/entropy/seed_0", "--show", "transfer", "--model", "edited.yaml", "--rounds=0"]
    for rate in (0.2, 0.2, 0.01):
        Path("edited.yaml").write_text(f"model: {{class_path: tests.helpers.projects.Net, init_args: {{lr: {rate}}}}}")
        main([*words, "--output", "edited"])
    assert [rate for rate, _ in trained] == [0.2, 0.2, 0.01]
    folders = [folder for _, folder in trained]
    assert folders[0] == folders[1] != folders[2]  # the same again is resumed


def test_the_other_model_on_other_samples_is_another():
    of = [_digest("lr: 0.1", [3, 5]), _digest("lr: 0.1", [3, 6]), _digest("lr: 0.2", [3, 5])]
    assert len(set(of)) == 3
    assert _digest("lr: 0.1", [3, 5]) == of[0]


class Untrained:
    """A campaign that is told to be finished."""

    status = "finished"

    def run(self, trainer, resume):
        return [RoundResult(0, 8, [], [], {"test_acc": 0.5}, {})]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/bare/seed_0", "--show", "gap"], "did not keep the weights of its 3 rounds.*--loop.keep_weights=true"),
        (["runs/bare/seed_0", "--show", "gap", "--rounds=1"], "weights of round 1 in .* were not kept"),
        (["runs", "--show", "gap"], "no campaign in runs .*There are some below it: runs/bare/seed_0"),
        (
            ["runs/entropy/seed_0", "--show", "gap", "--rounds", "two"],
            "`--rounds=two` must be numbers, as 0,5,-1 or 0..4",
        ),
        (["runs/entropy/seed_0", "--show", "gap", "--rounds", "0..9"], "rounds 0 to 2, and no round 3"),
        (["runs/entropy/seed_0", "--show", "gap", "--rounds=0,2..1"], r"2\.\.1 names none; did you mean 1\.\.2\?"),
        (["runs/entropy/seed_0", "--show", "gap", "--rounds=0..-1"], "rounds from the end are named one by one"),
        (
            [
                "runs/entropy/seed_0",
                "--show",
                "classes",
                "gap",
                "--samples=9",
                "--rho=1",
                "--model",
                "x",
                "--held-out=3",
            ],
            "(.|\\n)*`--samples` changes nothing of classes or gap: it is for bound, losses(.|\\n)*"
            "`--rho` .* for bound, losses, labels_kept(.|\\n)*`--model` .* it is for transfer",
        ),
        (["runs/entropy/seed_0", "--show", "seconds", "--span=2"], "`--span` changes nothing of seconds: .* landscape"),
        (["runs/entropy/seed_0", "--show", "transfer"], "give its file, `--model"),
        (["runs/entropy/seed_0", "--show", "gap", "-c", "gone.yaml"], "no recipe gone.yaml"),
        slow(["runs/entropy/seed_0", "--show", "losses", "--rho=-1"], "`rho` must be above 0"),
        slow(["runs/entropy/seed_0", "--show", "landscape", "--points=4"], "`points` must be odd"),
        slow(["runs/entropy/seed_0", "--show", "falls", "--rounds=0"], "followed by one that is looked at too"),
    ],
)
def test_what_cannot_be(there, words, said):
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        main(["diagnose", *words, "--output", "out"])


def test_what_cannot_be_shown_keeps_nothing_else_from_it(there, capsys):
    words = ["runs/entropy/seed_0", "--show", "falls", "gap", "--rounds=0", "--output", "other"]
    with pytest.raises(SystemExit, match="error: None of the rounds looked at picked anything and is followed"):
        main(["diagnose", *words])
    assert "## Accuracy on training" in capsys.readouterr().out
    assert Path("other/gap.csv").is_file()


@pytest.mark.slow
def test_a_campaign_of_python_has_no_recipe(there, capsys):
    config = Path("runs/entropy/seed_0/config.yaml")
    text = config.read_text()
    config.unlink()
    try:
        with pytest.raises(SystemExit, match=r"has no config.yaml, .*`-c FILE`, .*open_campaign"):
            main(["diagnose", "runs/entropy/seed_0", "--show", "gap", "--output", "out"])
        main(["diagnose", "runs/entropy/seed_0", "--show", "gap", "-c", "recipe.yaml", "--output", "out"])
    finally:
        config.write_text(text)


def test_unknown_words_are_refused(capsys):
    for words in ([], ["folder"], ["folder", "--show", "everything"]):
        with pytest.raises(SystemExit):
            main(["diagnose", *words])
    assert "`--show`: there is no 'everything'; there are bound, " in capsys.readouterr().err


def test_names_tell_campaigns_apart(there):
    one, other = Path("runs/entropy/seed_0"), Path("runs/bare/seed_0")
    assert list(names_of([one])) == ["entropy"]
    assert list(names_of([one, other])) == ["entropy", "bare"]
    with pytest.raises(ValueError, match="given twice"):
        names_of([one, one.resolve()])
