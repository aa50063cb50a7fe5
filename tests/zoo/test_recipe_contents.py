"""Recipes: what is in their files, and that numbers are those that were published."""

import pytest

from tests.helpers.recipes import (
    LEARN_THE_LOSS,
    METHODS,
    PROTOCOLS,
    load,
)


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
    sam, small = load("training/sam"), load("training/sam_small")
    small["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.001
    assert sam == small


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


SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}}
AT_160 = {"class_path": "torch.optim.lr_scheduler.MultiStepLR", "init_args": {"milestones": [160], "gamma": 0.1}}


class TestPublishedNumbers:
    @pytest.mark.parametrize("data", ["cifar10", "fashion_mnist"])
    def test_saal(self, data):
        low = {"initial": 20, "initial_by": "balanced", "query_size": 10, "rounds": 100, "subpool_size": 2000}
        low |= {"reset": "initial", "epochs": 50, "batch": 10, "net": "ResNet18", "optimizer": adam(0.001)}
        assert values(f"saal/{data}_low_budget") == low | {"scheduler": None}
        high = {"initial": 1000, "initial_by": "random", "query_size": 1000, "rounds": 9, "subpool_size": 10000}
        high |= {"epochs": 200, "batch": 128, "optimizer": adam(0.0005)}
        assert values(f"saal/{data}_high_budget") == low | high | {"scheduler": None}

    def test_sam(self):
        sam = load("training/sam")
        assert (sam["model"]["class_path"], sam["loop"]) == ("SAMClassifier", {"reset": "continue"})
        model = sam["model"]["init_args"]
        assert (model["rho"], model["running_stats"]) == (0.05, "both")
        assert model["optimizer"] == {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001, "momentum": 0.9}}

    def test_gradient_norms(self):
        numbers = {"initial": 5000, "initial_by": "random", "query_size": 2500, "rounds": 6, "subpool_size": 25000}
        numbers |= {"reset": "warm", "epochs": 200, "batch": 128, "net": "ResNet18"}
        assert values("gradient_norms/cifar10") == numbers | {"optimizer": SGD, "scheduler": AT_160}
        numbers |= {"initial": 2400, "query_size": 1200, "subpool_size": 12_000, "epochs": 100}
        at_80 = {**AT_160, "init_args": {"milestones": [80], "gamma": 0.1}}
        assert values("gradient_norms/cryo_et") == numbers | {"optimizer": SGD, "scheduler": at_80}

    @pytest.mark.parametrize(("budget", "labels", "subpool"), [("high", 1000, 25000), ("low", 500, 5000)])
    def test_lplgrad(self, budget, labels, subpool):
        numbers = {"initial": labels, "initial_by": "random", "query_size": labels, "rounds": 9}
        numbers |= {"subpool_size": subpool, "reset": "warm", "epochs": 200, "batch": 128, "net": "ResNet18"}
        assert values(f"lplgrad/cifar10_{budget}_budget") == numbers | {"optimizer": SGD, "scheduler": AT_160}

    @pytest.mark.parametrize("data", ["cifar10", "fashion_mnist"])
    def test_small_is_the_low_budget_in_small(self, data):
        small = {"query_size": 20, "rounds": 10, "epochs": 30, "net": "SmallCNN"}
        assert values(f"{data}/small") == values(f"saal/{data}_low_budget") | small
