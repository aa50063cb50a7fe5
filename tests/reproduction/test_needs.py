import re

import pytest

from lightning_al import zoo
from lightning_al.reproduction.needs import Needs, read_data_sets
from lightning_al.reproduction.registry import read_results
from tests.helpers.recipes import RECIPES
from tests.helpers.results import write_data, write_recipes


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_recipes(tmp_path / "recipes")


def cases(recipes, name="toy/table-1"):
    return read_results(recipes)[name].cases


def test_it_says_what_is_lacking(recipes, tmp_path):
    of = cases(recipes)
    needs = Needs(recipes)
    assert needs.lacks(of["cubes-adam"], small=False) == ["Cubes"]
    assert needs.lacks(of["balls-adam"], small=True) == ["a small protocol"]
    assert needs.lacks(of["balls-adam"], small=False) == [
        "Balls",
        "the package no_such_package (pip install no_such_package)",
    ]
    (recipes / "training" / "sam.yaml").unlink()
    assert needs.lacks(of["cubes-sam"], small=False) == ["the recipe training/sam.yaml"]
    write_data(tmp_path / "data")
    assert Needs(recipes).lacks(of["cubes-adam"], small=False) == []
    assert Needs(recipes).words(of["cubes-adam"], small=False) == ()  # where the protocol looks for them


def test_a_package_that_is_missing_is_named_with_how_to_get_it(recipes, tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    find = "lightning_al.reproduction.needs.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    lacks = Needs(recipes).lacks(cases(recipes)["cubes-adam"], small=True, packages=["sklearn"])
    assert lacks == ["the package sklearn (pip install 'lightning-al[cluster]')"]


def test_a_folder_that_is_given_is_looked_into_first(recipes, tmp_path):
    write_data(tmp_path / "data")
    write_data(tmp_path / "given")
    needs = Needs(recipes, str(tmp_path / "given"))
    assert needs.words(cases(recipes)["cubes-adam"], small=False) == (f"--data.root={tmp_path / 'given'}",)
    needs = Needs(recipes, str(tmp_path / "empty"))
    assert needs.lacks(cases(recipes)["cubes-adam"], small=False) == []
    assert needs.words(cases(recipes)["cubes-adam"], small=False) == ()


def test_folders_are_counted_where_their_number_tells_data_sets_apart(recipes, tmp_path):
    for name in ("a", "b"):
        assert Needs(recipes).lacks(cases(recipes)["cubes-adam"], small=False) == ["Cubes"]
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
    (tmp_path / "data" / "train" / "file").touch()
    assert Needs(recipes).lacks(cases(recipes)["cubes-adam"], small=False) == []
    (tmp_path / "data" / "train" / "c").mkdir()
    assert Needs(recipes).lacks(cases(recipes)["cubes-adam"], small=False) == ["Cubes"]


def test_data_modules_inside_of_others_have_options_of_their_own(recipes, tmp_path):
    inner = "{class_path: CubesDataModule, init_args: {root: elsewhere}}"
    (recipes / "cubes.yaml").write_text(f"data: {{class_path: Two, init_args: {{source: {inner}, target: {inner}}}}}")
    root = write_data(tmp_path / "given")
    words = Needs(recipes, str(root)).words(cases(recipes)["cubes-adam"], small=False)
    assert words == (f"--data.source.root={root}", f"--data.target.root={root}")


def test_the_round_of_an_entry(recipes):
    at_labels, at_percent = cases(recipes, "toy/table-2")["cubes"], cases(recipes, "toy/table-3")["cubes"]
    needs = Needs(recipes)
    assert [needs.round_at(at_labels, place) for place in (0, 1)] == [1, 3]  # 20 labels, then 10 a round
    assert [needs.round_at(at_percent, place) for place in (0, 1)] == [1, 3]  # of 100 samples
    assert needs.round_at(cases(recipes)["cubes-adam"], 4) == 4


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
LAYOUTS = {
    "FashionMNISTDataModule": [
        [f"{folder}{name}{end}" for name in IDX]
        for folder, end in (("", ".gz"), ("", ""), ("raw/", ""), ("FashionMNIST/raw/", ".gz"))
    ],
    "CIFAR10DataModule": [
        ["cifar-10-batches-py/data_batch_1"],
        [f"{split}/{n}/a.png" for split in ("train", "test") for n in range(10)],
    ],
    "CIFAR100DataModule": [["cifar-100-python/train"]],
    "SVHNDataModule": [[f"{folder}{split}_32x32.mat" for split in ("train", "test")] for folder in ("", "svhn/")],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_table_of_data_finds_what_data_modules_find(name, tmp_path):
    data = read_data_sets(RECIPES)[name]
    for number, files in enumerate(LAYOUTS[name]):
        root = tmp_path / str(number)
        for part in (files[:0], files[: len(files) // 2], files):
            touch(root, *part)
            root.mkdir(exist_ok=True)
            found = getattr(zoo, name)(root=str(root)).find() is not None
            assert data.is_in(root) == found, part
        assert data.is_in(root)


def test_the_table_of_data_has_all_that_protocols_name():
    known = read_data_sets(RECIPES)
    modules = {name.split()[0] for name in known}
    assert all(hasattr(zoo, name) for name in modules)
    files = {
        file
        for result in read_results(RECIPES).values()
        for case in result.cases.values()
        for file in (*case.protocol, *case.small)
        if (RECIPES / file).is_file()
    }
    assert len(files) > 20
    for file in files:
        named = set(re.findall(r"class_path: (\w+DataModule)", (RECIPES / file).read_text()))
        assert named, file
        assert named - {"TwoDomainsDataModule"} <= modules, file
