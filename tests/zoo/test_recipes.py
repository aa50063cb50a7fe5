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
from lightning.pytorch.callbacks import Callback

from lightning_al import AwaitTell, Campaign, ClassificationTask, RegressionTask, zoo
from lightning_al.acquisition import Acquisition
from lightning_al.zoo import Classifier, LossPredictionClassifier, SAMClassifier, SAMLossPredictionClassifier
from tests.helpers import published
from tests.helpers.recipes import (
    ALONE,
    DETECTION,
    FEATURES,
    FIGURES,
    LEARN_THE_LOSS,
    METHODS,
    OF_FILES,
    OF_PAPERS,
    OF_REAL_VALUES,
    OF_REGIONS,
    OF_SINGLE_PIXELS,
    PROTOCOLS,
    PUBLISHED,
    RECIPES,
    ROOT,
    SEGMENTATION,
    TRAININGS,
    WITHOUT_QUERIES,
    arguments,
    command_line,
    head,
    load,
    runs_of,
    sam_of,
    text,
)


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


def check_resolved(config, protocol, method, sam=None):
    """Of a run's configuration: that each of its files had its say."""
    recipe, own = load(protocol), load(method)
    assert config["trainer"]["max_epochs"] == recipe["trainer"]["max_epochs"]
    (callback,), (named,) = config["trainer"]["callbacks"], own["trainer"]["callbacks"]
    assert callback["class_path"] == f"lightning_al.acquisition.{named['class_path']}"
    assert named.get("init_args", {}).items() <= callback.get("init_args", {}).items()

    model, base = config["model"]["init_args"], recipe["model"]["init_args"]
    of_method = own.get("model", recipe["model"])
    last = of_method if sam is None else load(sam)["model"]
    assert config["model"]["class_path"] == f"lightning_al.zoo.{last['class_path']}"
    for name, value in (base | of_method["init_args"] | last["init_args"]).items():
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
    assert {name for name in files if name.startswith("published/")} == {
        f"published/{name}" for name in (*PUBLISHED, "data")
    }
    files = {name for name in files if not name.startswith("published/")}
    others = [*OF_REAL_VALUES, *OF_REGIONS, *OF_SINGLE_PIXELS, *WITHOUT_QUERIES]
    methods = {f"acquisitions/{name}" for name in (*METHODS, *others)}
    trainings = {f"training/{name}" for name in TRAININGS} | {f"features/{name}" for name in FEATURES}
    assert files == {*ALONE, *OF_FILES, *PROTOCOLS, *SEGMENTATION, *DETECTION} | methods | trainings


class TestPairs:
    @pytest.mark.few(2)
    @pytest.mark.parametrize("method", METHODS)
    def test_each_method_is_built(self, method, build):
        files = "fashion_mnist/small", f"acquisitions/{method}"
        config, made = build(*files)
        check_resolved(config, *files)
        check_made(made)
        assert type(made["model"]) is (LossPredictionClassifier if method in LEARN_THE_LOSS else Classifier)

    @pytest.mark.few(2)
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_each_protocol_is_built_with_sam(self, protocol, build):
        files = protocol, "acquisitions/saal_kmeans", sam_of(protocol, "saal_kmeans")
        config, made = build(*files)
        check_resolved(config, *files)
        check_made(made)
        assert type(made["model"]) is SAMClassifier

    @pytest.mark.few(1)
    @pytest.mark.parametrize("protocol", ["cifar10/small", "saal/cifar10_low_budget", "saal/cifar100_low_budget"])
    @pytest.mark.parametrize("method", sorted(LEARN_THE_LOSS))
    def test_a_method_with_a_model_of_its_own_is_built_with_sam(self, protocol, method, build):
        files = protocol, f"acquisitions/{method}", sam_of(protocol, method)
        config, made = build(*files)
        check_resolved(config, *files)
        check_made(made)
        assert type(made["model"]) is SAMLossPredictionClassifier

    def test_print_config(self):
        files = "saal/cifar10_low_budget", "acquisitions/badge"
        check_resolved(resolved(*files), *files)

    @pytest.mark.slow
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_all(self, protocol, parser):
        for files in runs_of(protocol):
            check_resolved(parser.parse_args(["run", *arguments(*files)])["run"].as_dict(), *files)

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


def test_all_labels_take_the_place_of_a_method(build):
    config, made = build("saal/fashion_mnist_low_budget", "acquisitions/full_data")
    check_made(made)
    loop = config["loop"]
    assert (loop["initial"], loop["rounds"], loop["budget"], loop["initial_by"]) == ("all", 0, None, "random")
    assert loop["dirpath"].endswith("{method}/seed_{seed}")
    assert "-c recipes/acquisitions/full_data.yaml" in text("acquisitions/full_data")


class TestPublishedImages:
    """Every data module and network of the zoo takes the place of a recipe's, by its name and its options."""

    @pytest.fixture
    def other(self, build, tmp_path):
        def other(content):
            (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
            return build("quickstart", f"--config={tmp_path / 'other.yaml'}")[1]

        return other

    def test_all_are_here(self):
        of = zoo.PublishedImages | zoo.ClassFoldersDataModule
        names = {name for name in zoo.__all__ if name.endswith("DataModule")}
        assert {name for name in names if issubclass(getattr(zoo, name), of)} == set(published.DATA)

    @pytest.mark.few(2)
    @pytest.mark.parametrize("name", list(published.DATA))
    def test_data(self, name, other):
        options = {"root": "data/somewhere", "batch_size": 7, "eval_batch_size": 9, **published.DATA[name]}
        data = other({"data": {"class_path": name, "init_args": options}})["data"]
        assert type(data) is getattr(zoo, name)
        for option, value in options.items():
            if option == "size":
                value = (value, value) if isinstance(value, int) else tuple(value)
            assert getattr(data, option) == value, option

    @pytest.mark.few(1)
    @pytest.mark.parametrize("classifier", ["SAMClassifier", "LossPredictionClassifier", "Classifier"])
    @pytest.mark.parametrize("name", list(published.NETS))
    def test_networks_and_class_accuracies(self, name, classifier, other):
        net = {"class_path": name, "init_args": {"num_classes": 4, **published.NETS[name]}}
        options = {"num_classes": 4, "class_accuracies": True, "net": net}
        model = other({"model": {"class_path": classifier, "init_args": options}})["model"]
        assert type(model.net) is getattr(zoo, name)
        assert model.class_accuracies


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
            assert bool(re.search(rf"{figure}\b", claim)) == (method in methods), figure

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_protocols_say_what_is_published_and_what_is_ours(self, protocol):
        said = "\n".join(head(protocol))
        assert f"lightning-al compare runs/{protocol}" in said
        assert "--resume" in said
        assert "Ours: " in said or "ours: " in said
        assert ("Published (" in said) == (protocol in OF_PAPERS)
        of_torch = protocol in OF_PAPERS and protocol != "gradient_norms/imagenet"
        assert ("initial weights, torch's default." in said.replace("\n", "")) == of_torch
        assert len(re.findall("Kaiming", said)) == len(re.findall("Kaiming's with fan-out lose", said))

    @pytest.mark.few(1)
    @pytest.mark.parametrize("protocol", [protocol for protocol in OF_PAPERS if protocol != "gradient_norms/imagenet"])
    def test_protocols_begin_with_the_initial_weights_that_they_say(self, protocol, build):
        _, made = build(protocol, "acquisitions/random")
        convolutions = [m for m in made["model"].modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d)]
        assert len(convolutions) == 20
        for layer in convolutions:
            bound = layer.weight[0].numel() ** -0.5
            assert 0.95 * bound < float(layer.weight.detach().abs().max()) < 1.0001 * bound

    def test_algorithm_1_is_said_of_the_papers_perturbation_only(self):
        for path in RECIPES.rglob("*.yaml"):
            said = " ".join(line.lstrip("# ") for line in path.read_text().splitlines())
            for where in re.finditer("Algorithm 1", said):
                assert "sam" in said[where.start() - 60 : where.end() + 60].replace("asam", ""), path

    def test_what_is_named_exists(self):
        files = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *RECIPES.rglob("*.yaml")]
        for file in files:
            for named in re.findall(r"recipes/[\w/]+\.yaml", file.read_text()):
                assert (ROOT / named).exists(), (file, named)
        methods = re.search(r"^METHODS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
        assert set(methods.replace("\\", "").split()) <= set(METHODS)


class TestAlone:
    """Files of a protocol and a method."""

    SHORT = "--trainer.max_epochs=1", "--loop.rounds=1"

    @pytest.mark.few(1)
    @pytest.mark.parametrize("name", [name for name in ALONE if name != "quickstart"])
    def test_they_run(self, name, tmp_path, monkeypatch):
        pytest.importorskip("sklearn")
        monkeypatch.chdir(tmp_path)
        assert f"   lightning-al run -c recipes/{name}.yaml" in head(name)
        run(name, *self.SHORT)
        campaign = Campaign.load(load(name)["loop"]["dirpath"])
        assert [r.labelled for r in campaign.rounds] == [20, 30]
        assert campaign.options["acquisition"]["class"] == load(name)["trainer"]["callbacks"][0]["class_path"]

    @pytest.mark.parametrize("method", OF_REAL_VALUES)
    def test_a_method_of_real_values_fits_a_regression_and_no_classes(self, method, build):
        files = "diabetes", f"acquisitions/{method}"
        _, made = build(*files)
        check_made(made)
        assert f"   lightning-al run -c recipes/diabetes.yaml -c recipes/{files[1]}.yaml" in head(files[1])
        (asks,) = made["trainer"]["callbacks"]
        asks.bind(RegressionTask(), AwaitTell())
        with pytest.raises(ValueError, match=r"needs real values"):
            asks.bind(ClassificationTask(), AwaitTell())

    def test_the_file_of_a_method_that_the_page_on_sweeps_shows_is_that(self, build, tmp_path):
        (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), flags=re.DOTALL)
        (tmp_path / "variance.yaml").write_text(shown)
        _, made = build("diabetes", str(tmp_path / "variance"))
        (asks,) = made["trainer"]["callbacks"]
        assert (type(asks).__name__, asks.score) == ("MCDropout", "variance")

    @pytest.mark.slow
    def test_a_regression_has_real_labels_and_another_method(self, tmp_path, monkeypatch):
        pytest.importorskip("sklearn")
        monkeypatch.chdir(tmp_path)
        run("diabetes", "acquisitions/coreset", *self.SHORT)
        campaign = Campaign.load("runs/diabetes/mc_dropout")
        assert campaign.options["task"] == "RegressionTask"
        assert campaign.options["acquisition"]["class"] == "CoreSet"
        assert {type(label) for label in campaign.labels.values()} == {float}
        with pytest.raises(SystemExit, match="`Entropy` needs class scores, and `RegressionTask` has none"):
            run("diabetes", "acquisitions/entropy", *self.SHORT, "--loop.dirpath=runs/entropy")

    @pytest.mark.slow
    @pytest.mark.parametrize("output", ["mean", "sort"])
    def test_another_head(self, output, tmp_path, monkeypatch):
        pytest.importorskip("sklearn")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit, match=r"shape \(B, C\)|There is 'classes', 'mean'|C >= 2 classes, got"):
            run("two_heads", *self.SHORT, f"--loop.task.init_args.output={output}")
        assert not Path("runs").exists()


class Own(Callback):
    """A user's callback."""


class TestOnTheCommandLine:
    SHORT = "--trainer.max_epochs=1", "--loop.rounds=0"

    @pytest.mark.slow
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

    @pytest.mark.slow
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
            assert "equired, and not given: " in said
            assert "-c recipes/saal/cifar10_low_budget.yaml -c recipes/acquisitions/badge.yaml" in said

    def test_a_protocol_alone(self):
        with pytest.raises(SystemExit, match=r"exactly one acquisition .*-c recipes/acquisitions/saal.yaml"):
            run("fashion_mnist/small")

    @pytest.mark.slow
    def test_sam_after_a_method_with_a_model_of_its_own_is_refused(self, tmp_path):
        for method in ("learning_loss", "lplgrad"):
            with pytest.raises(SystemExit, match="needs a model that learns to predict its loss"):
                run("quickstart", f"acquisitions/{method}", "training/sam", f"--loop.dirpath={tmp_path}/c")

    def test_the_method_before_the_protocol_is_refused(self, tmp_path):
        with pytest.raises(SystemExit, match="needs a model that learns to predict its loss"):
            run("acquisitions/lplgrad", "quickstart", "--trainer.callbacks=LPLGrad", f"--loop.dirpath={tmp_path}/c")

    def test_a_methods_file_changes_the_acquisition_alone(self, tmp_path):
        project = tmp_path / "project.yaml"
        project.write_text(
            "trainer: {callbacks: [SAAL, {class_path: EarlyStopping, init_args: {monitor: a}},"
            " {class_path: tests.zoo.test_recipes.Own}]}"
        )
        for files, kept in (
            (["acquisitions/badge"], ["EarlyStopping", "Own", "BADGE"]),
            (["acquisitions/badge", "acquisitions/random"], ["EarlyStopping", "Own", "Random"]),
            (["quickstart"], ["EarlyStopping", "Own", "SAAL"]),
        ):
            cli = command_line("fashion_mnist/small", f"--config={project}", *files)
            assert [type(callback).__name__ for callback in cli.trainer.callbacks[: len(kept)]] == kept
        other = tmp_path / "other.yaml"
        other.write_text("trainer: {callbacks: [Margin, {class_path: LearningRateMonitor}]}")
        cli = command_line("fashion_mnist/small", f"--config={project}", f"--config={other}")
        assert not any(isinstance(callback, Own) for callback in cli.trainer.callbacks)

    def test_a_last_file_adds_callbacks(self, tmp_path):
        more = tmp_path / "more.yaml"
        more.write_text("trainer: {callbacks+: [{class_path: EarlyStopping, init_args: {monitor: a}}]}")
        cli = command_line("fashion_mnist/small", "acquisitions/badge", f"--config={more}")
        assert [type(callback).__name__ for callback in cli.trainer.callbacks[:2]] == ["BADGE", "EarlyStopping"]
        assert cli.config["run"]["loop"]["dirpath"] == "runs/fashion_mnist/small/badge_more/seed_0"
