"""What is wrong with a command line or a recipe is said in a line, with what was meant, by every command."""

import sys
from importlib.metadata import version

import pytest

from lightning_al.acquisition import Acquisition
from lightning_al.cli import main
from lightning_al.cli.refusals import Option, in_a_line
from lightning_al.cli.run import raised_inside
from tests.cli.test_run import RECIPE


def since_4_49(*values):
    """A case of which earlier versions of jsonargparse do not say enough."""
    early = tuple(map(int, version("jsonargparse").split(".")[:2])) < (4, 49)
    return pytest.param(*values, marks=pytest.mark.skipif(early, reason="jsonargparse 4.49"))


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    (tmp_path / "misses_a_module.py").write_text("import nowhere_to_be_found\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + f"  dirpath: {tmp_path}/c\n")
    return path


def refused(capsys, *words):
    """What a command line that is refused is told."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    said = capsys.readouterr().err if ended.value.code == 2 else f"{ended.value.code}\n"
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").strip()


class Careful(Acquisition):
    def __init__(self, share: float = 0.5):
        super().__init__()


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        ("query_size", "querysize", "There is no option `loop.querysize`; did you mean `loop.query_size`?"),
        ("max_epochs", "max_epoch", "There is no option `trainer.max_epoch`; did you mean `trainer.max_epochs`?"),
        ("Margin", "Margn", "`trainer.callbacks`: there is no class Margn; did you mean Margin?"),
        (
            "Margin",
            "tests.cli.test_refusals.Carefull",
            "`trainer.callbacks`: tests.cli.test_refusals.Carefull cannot be imported: module "
            "'tests.cli.test_refusals' has no attribute 'Carefull'; did you mean tests.cli.test_refusals.Careful?",
        ),
        (
            "Margin",
            "misses_a_module.Rare",
            "`trainer.callbacks`: misses_a_module.Rare cannot be imported: No module named 'nowhere_to_be_found'.",
        ),
        (
            "class_path: Margin",
            "class_path: tests.cli.test_refusals.Careful\n      init_args: {shar: 1}",
            "`trainer.callbacks`: Careful: there is no option `shar`; did you mean `share`?",
        ),
        (
            "class_path: Margin",
            "class_path: tests.cli.test_refusals.Careful\n      init_args: {share: many}",
            "`trainer.callbacks`: Careful: `share` must be float, got 'many'.",
        ),
        ("query_size: 4", "query_size: four", "`loop.query_size` must be int or float, got 'four'."),
        ("  query_size: 4\n", "", "Required, and not given: `loop.query_size`. Is a file missing?"),
        (RECIPE, "a: [", "recipe.yaml is no YAML: "),
    ],
)
def test_of_a_recipe(recipe, capsys, written, instead, said):
    text = recipe.read_text()
    assert written in text
    recipe.write_text(text.replace(written, instead))
    assert said in refused(capsys, "run", "-c", str(recipe))


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("run", ["--max_epochs=3"], "There is no option `--max_epochs`; did you mean `--trainer.max_epochs`?"),
        ("run", ["--ckpt_path=best.ckpt"], "There is no option `--ckpt_path`. A campaign begins with the weights"),
        ("run", ["--trainer.callbacks=SAAL", "--trainer.callbacks.roh=1"], "SAAL: there is no option `roh`; did you"),
        since_4_49("run", ["--loop.reset=initail"], "'continue' or 'fresh', got 'initail'; did you mean 'initial'?"),
        since_4_49(
            "run", ["--trainer.callbacks=SAAL", "--trainer.callbacks.rho=-1"], "`rho` must be above 0 and finite, got"
        ),
        ("ask", ["--exprt", "a.csv"], "There is no option `--exprt`; did you mean `--export`?"),
        ("race", ["--loop.querysize=3"], "There is no option `--loop.querysize`; did you mean `--loop.query_size`?"),
        ("score", ["--picksonly"], "There is no option `--picksonly`; did you mean `--picks-only`?"),
        ("features", ["--outptu=x"], "There is no option `--outptu`; did you mean `--output`?"),
        ("sweep", ["--metods", "saal"], "Required, and not given: `--methods`."),
        ("sweep", ["--methods", "saal", "--job=2"], "There is no option `--job`; did you mean `--jobs`?"),
        ("tell", ["a.csv", "--annotater", "me"], "There is no option `--annotater`; did you mean `--annotator`?"),
        ("diagnose", ["runs", "--show", "gap", "--sead=1"], "There is no option `--sead`; did you mean `--seed`?"),
        ("diagnose", ["runs", "--show", "nroms"], "`--show`: there is no 'nroms'; did you mean norms?"),
        ("tell", ["a.csv", "--format", "xml"], "`--format`: there is no 'xml'; there are csv, jsonl, coco, voc, png."),
    ],
)
def test_of_a_command_line(recipe, capsys, command, flags, said):
    assert said in refused(capsys, command, "-c", str(recipe), *flags)


def test_a_command_that_is_none(capsys):
    assert refused(capsys, "swep") == "`COMMAND`: there is no 'swep'; did you mean sweep?"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "sweep -c recipe.yaml --dirpath x --methods saal,entrpy",
            "`--methods`: there is no method 'entrpy': did you mean entropy",
        ),
        (
            "race -c recipe.yaml --methods CoreSet,entrpy",
            "`--methods`: there is no method 'entrpy': did you mean entropy",
        ),
        ("run -c recipee.yaml", "There is no recipe recipee.yaml: did you mean recipe.yaml?"),
        (
            "sweep -c recipee.yaml --dirpath x --methods saal",
            "There is no recipe recipee.yaml: did you mean recipe.yaml?",
        ),
        ("ask --config=recipes/mine.yaml", "There is no recipe recipes/mine.yaml. Those that came with the package"),
        ("score -c recipee.yaml", "There is no recipe recipee.yaml: did you mean recipe.yaml?"),
        ("features -c recipe.yaml -c method.yml", "There is no recipe method.yml."),
        ("tell -c recipee.yaml a.csv", "There is no recipe recipee.yaml: did you mean recipe.yaml?"),
        ("diagnose c --show gap", "There is no campaign in c "),
    ],
)
def test_what_is_not_there_is_said_without_the_seconds_that_torch_takes(recipe, capsys, monkeypatch, words, said):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torch", "lightning", "jsonargparse")]:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    for name in ("run", "race", "ask", "score", "features", "diagnose"):  # which have imported it already
        monkeypatch.delitem(sys.modules, f"lightning_al.cli.{name}", raising=False)
    monkeypatch.setattr("lightning_al.sweep.processes.Forks.start", None)
    assert refused(capsys, *words.split()).startswith(said)


def test_the_classes_that_race_are_those_of_the_room():
    from lightning_al import acquisition
    from lightning_al.cli.named_files import classes_and_recipes

    assert classes_and_recipes(",".join([*acquisition.__all__, "saal"])) == (
        [name for name in acquisition.__all__ if name != "Acquisition"],
        "Acquisition,saal",
    )


def test_yaml_in_place_of_a_file_is_read(recipe, capsys):
    said = refused(capsys, "run", "-c", str(recipe), "-c", "{loop: {querysize: 3}}")
    assert said == "There is no option `loop.querysize`; did you mean `loop.query_size`?"


def test_a_sweep_says_the_same_of_its_recipes(recipe):
    from lightning_al.cli.recipes_checked import findings_of

    recipe.write_text(recipe.read_text().replace("query_size", "querysize"))
    assert findings_of(["-c", str(recipe)]) == ["There is no option `loop.querysize`; did you mean `loop.query_size`?"]


def test_what_is_not_understood_is_said_as_it_is():
    assert in_a_line("Something else.\nAltogether", {}) == "Something else.\nAltogether"
    assert in_a_line("unrecognized arguments: fit --seed 3 x", {"seed": Option("--sed")}) == (
        "Nothing takes 'fit'. There is no option `--seed`; did you mean `--sed`? Nothing takes 'x'."
    )


def test_errors_of_other_code_are_left_as_they_are():
    error = ValueError("of theirs")
    error.__cause__ = KeyError("x")
    assert raised_inside(error) is error
