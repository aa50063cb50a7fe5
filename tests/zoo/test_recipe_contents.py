"""Recipes: what is in their files, and that numbers are those that were published."""

import re
from typing import ClassVar

import pytest
import yaml

from lightning_al.training.sam.options import SAMOptions
from tests.helpers.recipes import (
    LEARN_THE_LOSS,
    METHODS,
    OF_PAPERS,
    PROTOCOLS,
    RECIPES,
    load,
)


def strings_in(content):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [text for each in content for text in strings_in(each)]
    return [content] if isinstance(content, str) else []


def test_no_string_becomes_a_number_in_config_yaml():
    """jsonargparse writes 0016E5 as 1600000.0, with which a campaign's project cannot be read again."""
    number = re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+")
    files = sorted(RECIPES.glob("*/*.yaml"))
    assert len(files) > 50
    found = {
        file.name: [text for text in strings_in(yaml.safe_load(file.read_text())) if number.fullmatch(text)]
        for file in files
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_have_all_but_the_acquisition(protocol):
    recipe = load(protocol)
    assert list(recipe) == ["trainer", "model", "data", "loop"]
    assert "callbacks" not in recipe["trainer"]
    # No data set of the zoo but digits has a validation set.
    assert recipe["loop"]["evaluate"] == "test"
    assert recipe["loop"]["dirpath"] == f"runs/{protocol}/{{method}}/seed_{{seed}}"


@pytest.mark.parametrize("method", METHODS)
def test_methods_have_the_acquisition_and_what_it_must_train(method):
    recipe = load(f"acquisitions/{method}")
    assert list(recipe) == (["trainer", "model"] if method in LEARN_THE_LOSS else ["trainer"])
    assert list(recipe["trainer"]) == ["callbacks"]
    assert len(recipe["trainer"]["callbacks"]) == 1
    if method in LEARN_THE_LOSS:
        assert recipe["model"]["class_path"] == "LossPredictionClassifier"
        assert all(name.startswith("loss_") for name in recipe["model"]["init_args"])


def test_methods_of_one_family_share_all_but_what_they_compare():
    def acquisition(method):
        (callback,) = load(f"acquisitions/{method}")["trainer"]["callbacks"]
        return callback

    saal = acquisition("saal")
    assert saal["init_args"] == {"perturbation": "asam", "rho": 0.05, "selection": "top"}
    for method, selection in (("saal_kmeans", "kmeans++"), ("saal_badge", "badge")):
        assert acquisition(method) == {**saal, "init_args": {**saal["init_args"], "selection": selection}}
    for method in ("vaal", "sraal"):
        small = acquisition(f"{method}_small")
        assert small["class_path"] == acquisition(method)["class_path"]
        assert set(small["init_args"]) == {"steps", "batch_size", "width"}
    assert acquisition("vaal")["init_args"] == {"steps": 39062, "batch_size": 128, "width": 128}
    assert acquisition("sraal")["init_args"] == {
        **{"steps": 20_000, "batch_size": 250, "latent": 200, "width": 128},
        **{"reduction": "code", "lr_decay": 0.85, "lr_decays": 30},
    }
    loss, lplgrad = (load(f"acquisitions/{method}")["model"]["init_args"] for method in ("learning_loss", "lplgrad"))
    assert lplgrad == {**loss, "loss_scheduled": False}
    for selection in ("learning_loss", "entropy"):
        of_scores = acquisition(f"{selection}_kmeans")
        assert of_scores == acquisition(selection) | {"init_args": {"selection": "kmeans++"}}
    assert load("acquisitions/learning_loss_kmeans")["model"] == load("acquisitions/learning_loss")["model"]
    for method, options in (
        *((f"saal_rho{100 * rho:03.0f}", {"rho": rho}) for rho in (0.01, 0.1)),
        *((f"saal_kmeans_group{n}", {"group_size": n, "selection": "kmeans++"}) for n in (10, 100, 200)),
        ("saal_reverse", {"lowest": True}),
    ):
        assert acquisition(method) == {**saal, "init_args": saal["init_args"] | options}


def test_trainings_are_one_but_for_the_rate_and_the_model():
    sam = load("training/sam")
    for of, class_path in (("", "SAMClassifier"), ("_loss_prediction", "SAMLossPredictionClassifier")):
        for for_what, lr in (("", 0.001), ("_cifar100", 0.1), ("_small", 0.03)):
            other = load(f"training/sam{of}{for_what}")
            assert other["model"]["class_path"] == class_path
            assert other["model"]["init_args"]["optimizer"]["init_args"]["lr"] == lr
            other["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.001
            assert other | {"model": sam["model"]} == sam
            assert other["model"]["init_args"] == sam["model"]["init_args"]


@pytest.mark.parametrize("variant", ["esam", "gsam", "looksam", "saf", "mesa"])
def test_trainings_of_sams_family_are_sams_but_for_the_variant(variant):
    sam, other = load("training/sam"), load(f"training/{variant}")
    options = other["model"]["init_args"]
    assert options.pop("optimizer") == sam["model"]["init_args"]["optimizer"]
    assert other | {"model": sam["model"]} == sam
    assert other["model"]["class_path"] == "SAMClassifier"
    as_published = SAMOptions(**options | ({"decay": 0.9995} if variant == "mesa" else {}))
    assert as_published == SAMOptions(variant=variant)
    assert options["variant"] == variant


def values(protocol):
    recipe = load(protocol)
    loop, model = recipe["loop"], recipe["model"]["init_args"]
    return {
        **{name: loop[name] for name in ("initial", "initial_by", "query_size", "rounds", "subpool_size", "reset")},
        "epochs": recipe["trainer"]["max_epochs"],
        "batch": recipe["data"]["init_args"]["batch_size"],
        "net": model["net"]["class_path"],
        "optimizer": model["optimizer"],
        "scheduler": model.get("scheduler"),
    }


def adam(lr):
    return {"class_path": "torch.optim.Adam", "init_args": {"lr": lr}}


def sgd(lr, milestone):
    at = {"class_path": "torch.optim.lr_scheduler.MultiStepLR", "init_args": {"milestones": [milestone], "gamma": 0.1}}
    options = {"lr": lr, "momentum": 0.9, "weight_decay": 0.0005}
    return {"optimizer": {"class_path": "torch.optim.SGD", "init_args": options}, "scheduler": at}


def amounts(initial, query_size, rounds, subpool_size, epochs, batch):
    """The columns of a table of protocols."""
    names = "initial", "query_size", "rounds", "subpool_size", "epochs", "batch"
    return dict(zip(names, (initial, query_size, rounds, subpool_size, epochs, batch), strict=True))


class TestPublishedNumbers:
    RESNET: ClassVar = {"initial_by": "random", "net": "ResNet18"}

    @pytest.mark.parametrize("data", ["cifar10", "cifar100", "fashion_mnist", "svhn"])
    def test_saal(self, data):
        low = self.RESNET | {"initial_by": "balanced", "reset": "initial", "optimizer": adam(0.001), "scheduler": None}
        few, many = amounts(20, 10, 100, 2000, 50, 10), amounts(1000, 1000, 9, 10_000, 200, 128)
        if data == "cifar100":
            few, many = amounts(1000, 100, 100, 10_000, 50, 100), amounts(5000, 2500, 6, 10_000, 200, 128)
        assert values(f"saal/{data}_low_budget") == low | few
        high = low | {"initial_by": "random", "optimizer": adam(0.0005)}
        assert values(f"saal/{data}_high_budget") == high | many

    def test_saal_of_rare_classes_and_of_imagenet(self):
        assert values("saal/cifar10_long_tailed") == values("saal/cifar10_low_budget")
        assert load("saal/cifar10_long_tailed")["data"]["init_args"]["imbalance"] == 100
        numbers = self.RESNET | {"reset": "initial", "optimizer": adam(0.001), "scheduler": None}
        assert values("saal/imagenet") == numbers | amounts(5000, 5000, 5, 50_000, 500, 64)

    def test_sam(self):
        sam = load("training/sam")
        assert (sam["model"]["class_path"], sam["loop"]) == ("SAMClassifier", {"reset": "continue"})
        model = sam["model"]["init_args"]
        assert (model["rho"], model["running_stats"]) == (0.05, "both")
        assert model["optimizer"] == {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001, "momentum": 0.9}}

    @pytest.mark.parametrize(
        ("data", "training", "numbers"),
        [
            ("cifar10", sgd(0.1, 160), amounts(5000, 2500, 6, 25_000, 200, 128)),
            ("cifar100", sgd(0.1, 160), amounts(5000, 2500, 6, 25_000, 200, 128)),
            ("svhn", sgd(0.1, 160), amounts(7326, 3663, 6, 36_630, 200, 128)),
            ("caltech101", sgd(0.01, 40), amounts(580, 290, 6, 2900, 50, 64)),
            ("cryo_et", sgd(0.1, 80), amounts(2400, 1200, 6, 12_000, 100, 128)),
            ("imagenet", {"optimizer": adam(0.0001), "scheduler": None}, amounts(128_116, 64_058, 4, 640_580, 100, 64)),
        ],
    )
    def test_gradient_norms(self, data, training, numbers):
        net = {"net": "VGG16"} if data == "imagenet" else {}
        assert values(f"gradient_norms/{data}") == self.RESNET | training | numbers | {"reset": "warm"} | net

    @pytest.mark.parametrize(
        ("data", "training", "high", "low"),
        [
            ("cifar10", sgd(0.1, 160), (1000, 1000, 9, 25_000), (500, 500, 9, 5000)),
            ("cifar100", sgd(0.1, 160), (2500, 2500, 7, 25_000), (1000, 1000, 7, 15_000)),
            ("svhn", sgd(0.01, 40), (1000, 1000, 9, 25_000), (500, 500, 9, 10_000)),
            ("caltech101", sgd(0.01, 40), (500, 500, 6, 2000), (200, 200, 6, 1000)),
            ("cdd", sgd(0.01, 40), (500, 500, 4, 1000), (200, 200, 4, 1000)),
        ],
    )
    def test_lplgrad(self, data, training, high, low):
        epochs_and_batch = (50, 80) if data == "caltech101" else (200, 128)
        for budget, numbers in (("high", high), ("low", low)):
            numbers = amounts(*numbers, *epochs_and_batch)
            assert values(f"lplgrad/{data}_{budget}_budget") == self.RESNET | training | numbers | {"reset": "warm"}

    @pytest.mark.parametrize("protocol", OF_PAPERS)
    def test_photographs_have_the_original_stem_and_sgd_crops_and_flips(self, protocol):
        recipe = load(protocol)
        data, net = recipe["data"], recipe["model"]["init_args"]["net"]
        photographs = data["class_path"] in ("ImageNetDataModule", "Caltech101DataModule")
        assert net["init_args"].get("stem") == ("7x7" if photographs and net["class_path"] == "ResNet18" else None)
        augmented = data["class_path"] == "SVHNDataModule" and not protocol.startswith("saal/")
        assert data["init_args"].get("augmentation") == (True if augmented else None)

    @pytest.mark.parametrize("data", ["cifar10", "fashion_mnist"])
    def test_small_is_the_low_budget_in_small(self, data):
        small = {"query_size": 20, "rounds": 10, "epochs": 30, "net": "PlainCNN"}
        assert values(f"{data}/small") == values(f"saal/{data}_low_budget") | small
        assert values(f"{data}/small_long_tailed") == values(f"{data}/small")
        assert load(f"{data}/small_long_tailed")["data"]["init_args"]["imbalance"] == 100
