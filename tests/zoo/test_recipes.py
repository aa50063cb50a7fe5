"""Recipes: every protocol with every method, and what their heads promise."""

import contextlib
import io
import re
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml

from lightning_al import Campaign, zoo
from lightning_al.acquisition import Acquisition
from lightning_al.zoo import Classifier, LossPredictionClassifier, SAMClassifier

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
PROTOCOLS = [
    *("saal/cifar10_low_budget", "saal/fashion_mnist_low_budget"),
    *("saal/cifar10_high_budget", "saal/fashion_mnist_high_budget"),
    "gradient_norms/cifar10",
    *("lplgrad/cifar10_high_budget", "lplgrad/cifar10_low_budget"),
    *("cifar10/small", "fashion_mnist/small"),
]
# The methods of the published tables and figures that protocols name, and those of none.
FIGURES = {
    "SAAL, Table 1": {
        *("random", "entropy", "coreset", "learning_loss", "vaal", "badge", "prob_cover", "saal", "saal_kmeans"),
    },
    "LPLgrad, Table III": {"random", "entropy", "coreset", "learning_loss", "entropy_grad_norm", "lplgrad"},
    "gradient norms, Fig. 1": {
        *("random", "core_gcn", "sraal", "vaal", "learning_loss", "coreset", "query_by_committee", "mc_dropout"),
        *("entropy_grad_norm", "expected_grad_norm"),
    },
    "none of SAAL, LPLgrad, gradient norms": {
        *("least_confidence", "margin", "typiclust", "uncertain_gcn", "bald", "batch_bald", "saal_badge"),
        *("vaal_small", "sraal_small"),
    },
}
METHODS = sorted(set.union(*FIGURES.values()))
TRAININGS = ["sam", "sam_small"]

# Every protocol goes with every method, and with SAM after each method but these, which bring a model of their own.
LEARN_THE_LOSS = {"learning_loss", "lplgrad"}


def runs_of(protocol):
    """The files of every run that a protocol is for."""
    sam = "training/sam_small" if protocol.endswith("/small") else "training/sam"
    for method in METHODS:
        yield protocol, f"acquisitions/{method}"
        if method not in LEARN_THE_LOSS:
            yield protocol, f"acquisitions/{method}", sam


def text(name):
    return (RECIPES / f"{name}.yaml").read_text()


def load(name):
    return yaml.safe_load(text(name))


def head(name):
    lines = text(name).split("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in lines)
    return [line.lstrip("#") for line in lines]


def arguments(*files_and_flags):
    """Arguments of the command line, in which names of recipes become ``-c recipes/NAME.yaml``."""
    for given in files_and_flags:
        yield from [given] if given.startswith("-") else ["-c", str(RECIPES / f"{given}.yaml")]


@pytest.fixture(autouse=True)
def cli(monkeypatch):
    pytest.importorskip("jsonargparse")
    monkeypatch.setattr(sys, "argv", ["lightning-al"])  # LightningCLI warns about pytest's own


def run(*files_and_flags):
    from lightning_al.cli import main

    main(["run", *arguments(*files_and_flags)])


def resolved(*files_and_flags):
    """What ``--print_config`` shows."""
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as stopped:
        run(*files_and_flags, "--print_config")
    assert stopped.value.code in (0, None), files_and_flags
    return yaml.safe_load(said.getvalue())


def command_line(*files_and_flags):
    """The command line with all that it makes, before it runs anything."""
    from lightning_al.cli import ActiveLearningCLI

    class Idle(ActiveLearningCLI):
        def _run_subcommand(self, subcommand):
            pass

    return Idle(args=["run", *arguments(*files_and_flags)])


@pytest.fixture(scope="module")
def build():
    """A run's configuration and what is made of it, by one and the same parser: to make that takes longer."""
    pytest.importorskip("jsonargparse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lightning-al"])
        parser = command_line("quickstart").parser

    def build(*files):
        config = parser.parse_args(["run", *arguments(*files)])
        made = parser.instantiate(config) if hasattr(parser, "instantiate") else parser.instantiate_classes(config)
        return config["run"].as_dict(), made["run"]

    return build


def check_resolved(config, protocol, method, sam=None):
    """Of a run's configuration: that each of its files had its say."""
    recipe, own = load(protocol), load(method)
    assert config["trainer"]["max_epochs"] == recipe["trainer"]["max_epochs"]
    (callback,), (named,) = config["trainer"]["callbacks"], own["trainer"]["callbacks"]
    assert callback["class_path"] == f"lightning_al.acquisition.{named['class_path']}"
    assert named.get("init_args", {}).items() <= callback.get("init_args", {}).items()

    model, base = config["model"]["init_args"], recipe["model"]["init_args"]
    last = own.get("model", recipe["model"]) if sam is None else load(sam)["model"]
    assert config["model"]["class_path"] == f"lightning_al.zoo.{last['class_path']}"
    for name, value in (base | last["init_args"]).items():
        if name in ("net", "optimizer", "scheduler"):
            assert model[name]["class_path"].endswith(value["class_path"])
            assert value["init_args"].items() <= model[name]["init_args"].items()
        else:
            assert model[name] == value
    assert model["scheduler"] is None or "scheduler" in base

    loop = recipe["loop"] | ({} if sam is None else load(sam)["loop"])
    del loop["dirpath"]
    assert loop.items() <= config["loop"].items()


def check_made(made):
    trainer = pl.Trainer(**made["trainer"].as_dict())
    assert len([callback for callback in trainer.callbacks if isinstance(callback, Acquisition)]) == 1
    assert type(made["data"]).__module__.startswith(zoo.__name__)
    # Two optimizers, since each round's fit asks for its own.
    one, two = made["model"].optimizer([torch.zeros(1)]), made["model"].optimizer([torch.zeros(1)])
    assert one is not two


def test_the_files_are_those():
    files = {path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.*")}
    methods, trainings = {f"acquisitions/{name}" for name in METHODS}, {f"training/{name}" for name in TRAININGS}
    assert files == {"quickstart", *PROTOCOLS} | methods | trainings


class TestPairs:
    @pytest.mark.parametrize("method", METHODS)
    def test_each_method_is_built(self, method, build):
        files = "fashion_mnist/small", f"acquisitions/{method}"
        config, made = build(*files)
        check_resolved(config, *files)
        check_made(made)
        assert type(made["model"]) is (LossPredictionClassifier if method in LEARN_THE_LOSS else Classifier)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_each_protocol_is_built_with_sam(self, protocol, build):
        files = protocol, "acquisitions/saal_kmeans", "training/sam"
        config, made = build(*files)
        check_resolved(config, *files)
        check_made(made)
        assert type(made["model"]) is SAMClassifier

    def test_print_config(self):
        files = "saal/cifar10_low_budget", "acquisitions/badge"
        check_resolved(resolved(*files), *files)

    @pytest.mark.slow
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_all(self, protocol):
        for files in runs_of(protocol):
            check_resolved(resolved(*files), *files)

    @pytest.mark.slow
    def test_the_quickstart_takes_methods_too(self):
        for method in METHODS:
            (callback,) = resolved("quickstart", f"acquisitions/{method}")["trainer"]["callbacks"]
            (named,) = load(f"acquisitions/{method}")["trainer"]["callbacks"]
            assert callback["class_path"].endswith(f".{named['class_path']}")

    @pytest.mark.slow
    def test_flags_that_heads_name_do_what_they_say(self):
        for method in METHODS:
            said = " ".join(head(f"acquisitions/{method}"))
            for option in re.findall(r"--(?:trainer|model)\.[\w.]+=[\w+.]*[\w+]", said):
                name, value = option.split("=")
                config = resolved("fashion_mnist/small", f"acquisitions/{method}", option)
                section = config["model"] if "model" in name else config["trainer"]["callbacks"][0]
                assert section["init_args"][name.split(".")[-1]] == yaml.safe_load(value), option


class TestHeads:
    @pytest.mark.parametrize("name", [*PROTOCOLS, *(f"acquisitions/{method}" for method in METHODS)])
    def test_begins_with_its_command(self, name):
        (command,) = [line for line in head(name) if "lightning-al run" in line]
        files = [file.removeprefix("recipes/").removesuffix(".yaml") for file in command.split(" -c ")[1:]]
        assert command == "   lightning-al run" + "".join(f" -c recipes/{file}.yaml" for file in files)
        protocol, method = files
        assert name in files
        assert protocol in PROTOCOLS
        assert method.removeprefix("acquisitions/") in METHODS

    @pytest.mark.parametrize("method", METHODS)
    def test_methods_claim_the_figures_that_have_them_and_no_others(self, method):
        (claim,) = [line for line in head(f"acquisitions/{method}") if line.startswith(" Figures in: ")]
        for figure, methods in FIGURES.items():
            assert (figure in claim) == (method in methods), figure

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_protocols_say_what_is_published_and_what_is_ours(self, protocol):
        said = "\n".join(head(protocol))
        assert f"lightning-al compare runs/{protocol}" in said
        assert "--resume" in said
        assert "Ours: " in said or "ours: " in said
        assert ("Published (" in said) == (not protocol.endswith("small"))
        assert ("initial weights, torch's default." in said) == (not protocol.endswith("small"))
        assert len(re.findall("Kaiming", said)) == len(re.findall("Kaiming's with fan-out lose", said))

    @pytest.mark.parametrize("protocol", [protocol for protocol in PROTOCOLS if not protocol.endswith("small")])
    def test_protocols_begin_with_the_initial_weights_that_they_say(self, protocol, build):
        _, made = build(protocol, "acquisitions/random")
        convolutions = [m for m in made["model"].modules() if isinstance(m, torch.nn.Conv2d)]
        assert len(convolutions) == 20
        for layer in convolutions:
            bound = layer.weight[0].numel() ** -0.5
            assert 0.95 * bound < float(layer.weight.abs().max()) < 1.0001 * bound

    def test_algorithm_1_is_said_of_the_papers_perturbation_only(self):
        for path in RECIPES.rglob("*.yaml"):
            said = " ".join(line.lstrip("# ") for line in path.read_text().splitlines())
            for where in re.finditer("Algorithm 1", said):
                assert "sam" in said[where.start() - 60 : where.end() + 60].replace("asam", ""), path

    def test_what_is_named_exists(self):
        files = [ROOT / "README.md", ROOT / "Makefile", *RECIPES.rglob("*.yaml")]
        for file in files:
            for named in re.findall(r"recipes/[\w/]+\.yaml", file.read_text()):
                assert (ROOT / named).exists(), (file, named)
        methods = re.search(r"^METHODS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
        assert set(methods.replace("\\", "").split()) <= set(METHODS)


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

    @pytest.mark.parametrize(("budget", "labels", "subpool"), [("high", 1000, 25000), ("low", 500, 5000)])
    def test_lplgrad(self, budget, labels, subpool):
        numbers = {"initial": labels, "initial_by": "random", "query_size": labels, "rounds": 9}
        numbers |= {"subpool_size": subpool, "reset": "warm", "epochs": 200, "batch": 128, "net": "ResNet18"}
        assert values(f"lplgrad/cifar10_{budget}_budget") == numbers | {"optimizer": SGD, "scheduler": AT_160}

    @pytest.mark.parametrize("data", ["cifar10", "fashion_mnist"])
    def test_small_is_the_low_budget_in_small(self, data):
        small = {"query_size": 20, "rounds": 10, "epochs": 30, "net": "SmallCNN"}
        assert values(f"{data}/small") == values(f"saal/{data}_low_budget") | small


class TestOnTheCommandLine:
    SHORT = "--trainer.max_epochs=1", "--loop.rounds=0"

    def test_the_folder_is_named_by_method_and_seed(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        names = "--loop.dirpath=runs/{method}/seed_{seed}"
        run("quickstart", "acquisitions/random", *self.SHORT, names, "--loop.seed=2")
        first = Campaign.load("runs/random/seed_2").rounds
        with pytest.raises(SystemExit, match="holds a campaign already"):
            run("quickstart", "acquisitions/random", *self.SHORT, names, "--loop.seed=2")
        run("quickstart", "acquisitions/random", *self.SHORT, names, "--loop.seed=2", "--resume")
        assert Campaign.load("runs/random/seed_2").rounds == first
        saved = yaml.safe_load(Path("runs/random/seed_2/config.yaml").read_text())
        assert saved["loop"]["dirpath"] == "runs/random/seed_2"

    def test_the_folder_of_one_file_and_of_three(self):
        cli = command_line("quickstart", "--loop.dirpath=runs/{method}/seed_{seed}")
        assert cli.config["run"]["loop"]["dirpath"] == "runs/quickstart/seed_0"
        cli = command_line("cifar10/small", "acquisitions/badge", "training/sam_small", "--loop.seed=3")
        assert cli.config["run"]["loop"]["dirpath"] == "runs/cifar10/small/badge_sam_small/seed_3"

    def test_a_method_alone(self, capsys):
        for method in ("badge", "lplgrad"):
            with pytest.raises(SystemExit):
                run(f"acquisitions/{method}")
            said = capsys.readouterr().err
            assert "arguments are required" in said
            assert "-c recipes/saal/cifar10_low_budget.yaml -c recipes/acquisitions/badge.yaml" in said

    def test_a_protocol_alone(self):
        with pytest.raises(SystemExit, match=r"exactly one acquisition .*-c recipes/acquisitions/saal.yaml"):
            run("fashion_mnist/small")

    def test_sam_after_a_method_with_a_model_of_its_own_is_refused(self, tmp_path):
        for method in sorted(LEARN_THE_LOSS):
            with pytest.raises(SystemExit, match="needs a model that learns to predict its loss"):
                run("quickstart", f"acquisitions/{method}", "training/sam", f"--loop.dirpath={tmp_path}/c")

    def test_the_method_before_the_protocol_is_refused(self, tmp_path):
        with pytest.raises(SystemExit, match="needs a model that learns to predict its loss"):
            run("acquisitions/lplgrad", "quickstart", "--trainer.callbacks=LPLGrad", f"--loop.dirpath={tmp_path}/c")

    def test_a_last_file_adds_callbacks(self, tmp_path):
        more = tmp_path / "more.yaml"
        more.write_text("trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {monitor: a}}]}")
        cli = command_line("fashion_mnist/small", "acquisitions/badge", f"--config={more}")
        assert [type(callback).__name__ for callback in cli.trainer.callbacks[:2]] == ["BADGE", "EarlyStopping"]
        assert cli.config["run"]["loop"]["dirpath"] == "runs/fashion_mnist/small/badge_more/seed_0"
