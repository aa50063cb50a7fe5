"""The recipes name classes and arguments that exist, and those of one folder differ only in what they compare."""

import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml

import lightning_al.acquisition
from lightning_al import zoo
from lightning_al.zoo import Classifier, LossPredictionClassifier, SAMClassifier

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))
FOLDERS = ["fashion_mnist", "fashion_mnist/small", "cifar10", "cifar10/small"]
METHODS = {
    *("random", "entropy", "coreset", "badge", "prob_cover", "typiclust", "core_gcn", "uncertain_gcn"),
    *("mc_dropout", "bald", "batch_bald"),
    *("saal", "saal_kmeans", "saal_badge", "saal_sam"),
    *("vaal", "sraal"),
    "query_by_committee",
}
LEARN_THE_LOSS = {"learning_loss", "lplgrad"}  # beside the others in one folder, so far


def name(path):
    return path.relative_to(RECIPES).as_posix()


def load(path):
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_has_every_method(folder):
    found = {path.stem for path in (RECIPES / folder).glob("*.yaml")}
    assert found == METHODS | (LEARN_THE_LOSS if folder == "fashion_mnist/small" else set())


@pytest.mark.parametrize("path", FILES, ids=name)
class TestRecipe:
    def test_begins_with_its_command(self, path):
        head = path.read_text().split("\n\ntrainer:")[0].splitlines()
        assert all(line.startswith("#") for line in head)
        assert f"#   lightning-al run -c recipes/{name(path)}" in head

    def test_sections(self, path):
        recipe = load(path)
        assert list(recipe) == ["trainer", "model", "data", "loop"]
        loop = recipe["loop"]
        assert loop["dirpath"].startswith("runs/")
        # No data set of the zoo but digits has a validation set.
        assert loop["evaluate"] == "test"

    def test_builds_what_it_names(self, path):
        jsonargparse = pytest.importorskip("jsonargparse")
        recipe = load(path)
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(pl.Trainer, "trainer")
        parser.add_subclass_arguments(pl.LightningModule, "model")
        parser.add_subclass_arguments(pl.LightningDataModule, "data")
        config = parser.parse_object({section: recipe[section] for section in ("trainer", "model", "data")})
        if "ResNet18" in path.read_text():
            pytest.importorskip("torchvision")
        built = parser.instantiate(config) if hasattr(parser, "instantiate") else parser.instantiate_classes(config)
        assert type(built.model) in (Classifier, LossPredictionClassifier, SAMClassifier)
        assert type(built.data).__module__.startswith(zoo.__name__)
        acquisitions = [c for c in built.trainer.callbacks if isinstance(c, lightning_al.acquisition.Acquisition)]
        assert len(acquisitions) == 1
        # Two optimizers, since each round's fit asks for its own.
        one, two = built.model.optimizer([torch.zeros(1)]), built.model.optimizer([torch.zeros(1)])
        assert one is not two

    def test_the_command_line_reads_it(self, path, capsys, monkeypatch):
        pytest.importorskip("jsonargparse")
        from lightning_al.cli import main

        monkeypatch.setattr(sys, "argv", ["lightning-al"])  # LightningCLI warns about pytest's own
        with pytest.raises(SystemExit) as stopped:
            main(["run", "-c", str(path), "--print_config"])
        assert stopped.value.code in (0, None)
        shown = yaml.safe_load(capsys.readouterr().out)
        recipe = load(path)
        assert recipe["loop"].items() <= shown["loop"].items()
        assert shown["model"]["class_path"].endswith(recipe["model"]["class_path"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_recipes_of_a_folder_share_all_but_what_they_compare(folder):
    recipes = {path.stem: load(path) for path in (RECIPES / folder).glob("*.yaml")}
    for method, recipe in recipes.items():
        assert recipe["loop"].pop("dirpath") == f"runs/{folder.replace('/', '_')}/{method}/seed_0"
        recipe["callbacks"] = recipe["trainer"].pop("callbacks")
        recipe["net"] = recipe["model"]["init_args"].pop("net")
        recipe["reset"] = recipe["loop"].pop("reset")
    base = recipes["saal"]
    for method, recipe in recipes.items():
        for section in ("trainer", "data", "loop", "net"):
            assert recipe[section] == base[section], (method, section)
        if method in LEARN_THE_LOSS:
            model = {k: v for k, v in recipe["model"]["init_args"].items() if not k.startswith("loss_")}
            assert (model, recipe["reset"]) == (base["model"]["init_args"], "initial")
            assert recipe["model"]["class_path"] == "LossPredictionClassifier"
        elif method != "saal_sam":
            assert (recipe["model"], recipe["reset"]) == (base["model"], "initial")
    assert recipes["saal_sam"]["callbacks"] == base["callbacks"]
    assert recipes["saal_sam"]["reset"] == "continue"
    kmeans = recipes["saal_kmeans"]["callbacks"][0]["init_args"]
    assert kmeans == {**base["callbacks"][0]["init_args"], "selection": "kmeans++"}
    badge = recipes["saal_badge"]["callbacks"][0]["init_args"]
    assert badge == {**base["callbacks"][0]["init_args"], "selection": "badge"}


@pytest.mark.parametrize("folder", ["fashion_mnist", "cifar10"])
def test_the_low_budget_protocol(folder):
    for path in (RECIPES / folder).glob("*.yaml"):
        recipe = load(path)
        loop = recipe["loop"]
        published = {"initial": 20, "initial_by": "balanced", "query_size": 10, "rounds": 100, "subpool_size": 2000}
        assert published.items() <= loop.items()
        assert recipe["trainer"]["max_epochs"] == 50
        assert recipe["data"]["init_args"]["batch_size"] == 10
        model = recipe["model"]["init_args"]
        assert model["net"]["class_path"] == "ResNet18"
        assert model["optimizer"]["init_args"]["lr"] == 0.001
        assert "scheduler" not in model
        if path.stem.startswith("saal"):
            assert recipe["trainer"]["callbacks"][0]["init_args"]["perturbation"] == "asam"
        if path.stem == "saal_sam":
            assert model["optimizer"]["init_args"]["momentum"] == 0.9
            assert (model["rho"], model["running_stats"]) == (0.05, "both")
