import pytest

from lightning_al.reproduction.choosing import choice_of, result_of, seeds_for
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from tests.helpers.recipes import RECIPES
from tests.helpers.results import write_data, write_recipes


@pytest.fixture(scope="module")
def names():
    return dict.fromkeys(read_results(RECIPES))


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data")
    return write_recipes(tmp_path / "recipes")


def choose(recipes, name="toy/table-1", **options):
    findings = []
    choice, left_out = choice_of(read_results(recipes)[name], Needs(recipes), findings=findings, **options)
    return choice, left_out, findings


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saal/table1", "Did you mean saal/table-1 or"),
        ("SAAL/figure-13", "Did you mean saal/figure-13 or"),
        ("table-3", "Did you mean gradient_norms/table-3 or lplgrad/table-3 or saal/table-3?"),
        ("x" * 10_000, "`lightning-al reproduce` lists them all."),
    ],
)
def test_an_unknown_result_is_refused_with_those_that_are_near(name, said, names):
    findings = []
    assert result_of(name, names, findings) is None
    assert said in findings[0]
    assert len(findings[0]) < 1000


def test_settings_have_no_small_form(names):
    needs = Needs(RECIPES)
    choice, _ = choice_of(read_results(RECIPES)["lplgrad/table-1"], needs, small=True, findings=[])
    assert not choice.small
    assert choice.folder.name == "table-1"


def test_of_all_cases_those_that_can_run_do(recipes):
    choice, left_out, findings = choose(recipes)
    assert [case.name for case in choice.cases] == ["cubes-adam", "cubes-sam"]
    assert list(left_out) == ["balls-adam"]
    assert (findings, choice.methods, choice.seeds) == ([], None, [0, 1])


@pytest.mark.parametrize(
    ("only", "cases"),
    [
        ("cubes-sam", ["cubes-sam"]),
        ("cubes", ["cubes-adam", "cubes-sam"]),
        ("sam, cubes-adam", ["cubes-adam", "cubes-sam"]),
    ],
)
def test_cases_are_named_in_whole_or_by_a_part(recipes, only, cases):
    choice, _, findings = choose(recipes, only=only)
    assert ([case.name for case in choice.cases], findings) == (cases, [])


def test_what_is_named_and_lacks_something_is_wrong_with_where_to_get_it(recipes):
    _, _, findings = choose(recipes, only="balls")
    assert findings == [
        "balls-adam lacks Balls, the package no_such_package (pip install no_such_package).",
        "Balls: example.org/balls, after registration",
    ]
    _, _, findings = choose(recipes, "toy/table-4", small=True)
    assert findings == ["cubes lacks a small protocol."]


def test_all_that_is_wrong_is_said_at_once(recipes):
    _, _, findings = choose(recipes, only="cube,sam", methods="bagde,nothing", seeds="0")
    assert findings == [
        "`--only`: toy/table-1 has no case 'cube': did you mean cubes or cubes-sam?",
        "`--methods`: toy/table-1 has no method 'bagde': did you mean badge?",
        "`--methods`: toy/table-1 has no method 'nothing': it has random, badge.",
        "`--seeds` must be a number from 1 to 1000, or seeds as 0..4 or 0,3,5; got '0'.",
    ]
    assert [len(choose(recipes, **{name: ","})[2]) for name in ("only", "methods")] == [1, 1]


@pytest.mark.parametrize(("text", "seeds"), [("3", [0, 1, 2]), ("3,", [3]), ("2..3,7", [2, 3, 7])])
def test_a_lone_number_is_how_many_seeds(text, seeds):
    assert seeds_for(text, 5, []) == seeds


def test_seed_and_folder_of_a_run_are_not_the_users_to_say(recipes):
    _, _, findings = choose(recipes, overrides=["--loop.seed", "3", "--loop.dirpath=x", "--loop.rounds=1"])
    way = "is what `reproduce` says of each run: give `--seeds` or `--dirpath`."
    assert findings == [f"`--loop.seed` {way}", f"`--loop.dirpath` {way}"]
