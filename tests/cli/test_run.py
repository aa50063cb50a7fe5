import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from lightning_al import Campaign
from lightning_al.cli import ActiveLearningCLI, main
from lightning_al.cli.run import is_ours
from lightning_al.report import write_html
from tests.helpers.projects import Data, Net, make_data

ROOT = Path(__file__).parents[2]
RECIPE = """
trainer:
  max_epochs: 2
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: Margin
model:
  class_path: tests.helpers.projects.Net
data:
  class_path: tests.helpers.projects.Data
loop:
  initial: 6
  query_size: 4
  rounds: 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + f"  dirpath: {tmp_path}/c\n")
    return path


def run(recipe, *flags):
    main(["run", "-c", str(recipe), *flags])


def test_run_from_yaml(recipe, tmp_path, capsys):
    run(recipe)
    assert "finished: 14 labels" in capsys.readouterr().out
    campaign = Campaign.load(tmp_path / "c")
    assert [r.labelled for r in campaign.rounds] == [6, 10, 14]
    assert campaign.options["acquisition"] == {"class": "Margin", "selection": "top"}


def test_quiet_is_silent(recipe, tmp_path, capfd, caplog, monkeypatch):
    logger = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(logger, "level", logger.level)
    noisy = ["--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=true"]
    run(recipe, "--quiet", *noisy)
    assert capfd.readouterr().out == ""
    assert [text for text in caplog.messages if "Seed set" not in text] == []
    logger.setLevel(logging.INFO)
    run(recipe, *noisy, "--loop.dirpath", str(tmp_path / "other"))
    said = capfd.readouterr()
    assert "finished: 14 labels" in said.out
    assert [text.partition(":")[0] for text in caplog.messages if " labels | " in text] == [
        "round 0",
        "round 1",
        "round 2",
    ]
    rounds = [Campaign.load(tmp_path / name).rounds for name in ("c", "other")]
    assert [r.picked for r in rounds[0]] == [r.picked for r in rounds[1]]


def test_the_file_that_a_campaign_keeps_is_one_for_other_commands(recipe, tmp_path, monkeypatch):
    logger = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(logger, "level", logger.level)
    run(recipe, "--quiet", "--loop.rounds=0")
    kept = tmp_path / "c" / "config.yaml"
    assert "quiet" not in yaml.safe_load(kept.read_text())
    main(["score", "-c", str(kept), "--k", "3", "--picks-only", "--output", str(tmp_path / "picks.csv")])
    assert len((tmp_path / "picks.csv").read_text().splitlines()) == 4


def test_a_pool_beside_a_training_set(recipe, tmp_path, capsys):
    text = recipe.read_text().replace("projects.Data", "beside.Split").replace("initial: 6", "initial: 0")
    recipe.write_text(text)
    run(recipe, "--loop.known_share=0.5")
    assert "finished: 16 labels" in capsys.readouterr().out
    campaign = Campaign.load(tmp_path / "c")
    assert [(r.labelled, r.spent) for r in campaign.rounds] == [(8, 0), (12, 4), (16, 8)]
    assert campaign.options["known_share"] == 0.5


def test_without_metrics(recipe, tmp_path):
    run(recipe, "--loop.evaluate=null", "--loop.rounds=1")
    assert [r.metrics for r in Campaign.load(tmp_path / "c").rounds] == [{}, {}]


def test_resume_and_starting_over(recipe, tmp_path, capsys):
    run(recipe, "--resume")  # there is nothing to go on with: it starts
    first = Campaign.load(tmp_path / "c").rounds
    with pytest.raises(SystemExit, match=r"error: .*holds a campaign already.*--resume"):
        run(recipe)
    capsys.readouterr()
    run(recipe, "--resume")
    out = capsys.readouterr().out
    assert [line.split(" |")[0] for line in out.splitlines()[:-1]] == [
        "round 0: 6 labels", "round 1: 10 labels", "round 2: 14 labels",
    ]  # fmt: skip
    assert Campaign.load(tmp_path / "c").rounds == first
    others = r"goes on with a configuration that changed: data.batch_size: 4, now 3\. .* from round 3 on"
    with (
        pytest.warns(UserWarning, match=others),
        pytest.warns(UserWarning, match=r"options that changed: trainer.max_epochs: 2, now 1\.$"),
    ):
        run(recipe, "--resume", "--loop.rounds=3", "--trainer.max_epochs=1", "--data.batch_size=3")
    kept = [yaml.safe_load((tmp_path / "c" / name).read_text()) for name in ("config.yaml", "config_round_3.yaml")]
    assert [(each["trainer"]["max_epochs"], each["data"]["init_args"]["batch_size"]) for each in kept] == [
        (2, 4),
        (1, 3),
    ]
    assert Campaign.load(tmp_path / "c").options["trainer"]["max_epochs"] == 1
    page = write_html(tmp_path / "c").read_text()
    assert "From round 3 on it was trained with other settings" in page
    assert "trainer.max_epochs: 2, now 1; data.batch_size: 4, now 3." in page
    assert "from round 3 on (config_round_3.yaml" in page
    with pytest.raises(SystemExit, match=r"error: `--resume` needs `--loop.dirpath`"):
        run(recipe, "--resume", "--loop.dirpath=null")


def test_flags_and_several_files(recipe, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("loop:\n  rounds: 1\n  seed: 5\n")
    run(recipe, "-c", str(more), "--trainer.callbacks=SAAL", "--trainer.callbacks.rho=0.1", "--loop.query_size=3")
    options = Campaign.load(tmp_path / "c").options
    assert (options["rounds"], options["seed"], options["query_size"]) == (1, 5, 3)
    assert options["acquisition"]["class"] == "SAAL"
    assert options["acquisition"]["rho"] == 0.1


def test_print_config(recipe, capsys):
    with pytest.raises(SystemExit) as done:
        run(recipe, "--print_config")
    assert done.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["loop"]["query_size"] == 4
    assert printed["loop"]["reset"] == "initial"
    assert printed["trainer"]["callbacks"][0]["class_path"].endswith("Margin")


def test_the_saved_configuration_runs_again(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(recipe, "--loop.seed=3", "--loop.dirpath=1e3")  # a number to some readers of YAML
    saved = tmp_path / "1e3" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["loop"]["seed"] == 3
    main(["run", "-c", str(saved), "--resume"])
    assert capsys.readouterr().out.endswith("finished: 14 labels, 1e3\n")
    main(["run", "-c", str(saved), f"--loop.dirpath={tmp_path}/d"])
    a, b = Campaign.load(tmp_path / "1e3").rounds, Campaign.load(tmp_path / "d").rounds
    assert [r.picked for r in a] == [r.picked for r in b]


@pytest.mark.slow
def test_the_loops_seed_is_the_one_seed(recipe, tmp_path):
    def initial_weights(name, *flags):
        model = ["--model=Classifier", "--model.net=torch.nn.Linear", "--model.net.in_features=4"]
        model += ["--model.net.out_features=3", "--model.num_classes=3", "--data=tests.cli.test_run.FloatData"]
        run(recipe, *model, "--loop.rounds=0", f"--loop.dirpath={tmp_path}/{name}", *flags)
        return torch.load(tmp_path / name / "initial.ckpt", weights_only=True)["state_dict"]["net.weight"]

    one = initial_weights("a", "--loop.seed=1")
    assert torch.equal(one, initial_weights("b", "--loop.seed=1"))
    assert not torch.equal(one, initial_weights("e", "--loop.seed=2"))
    assert torch.equal(one, initial_weights("f", "--loop.seed=2", "--seed_everything=1"))


class FloatData(Data):
    def setup(self, stage):
        x, y = make_data()
        self.train = self.held_out = torch.utils.data.TensorDataset(x.float(), y)


def net_from(path: str) -> Net:
    net = Net()
    net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return net


def test_a_campaign_begins_with_a_checkpoint_by_a_function_in_the_place_of_the_class(recipe, tmp_path):
    torch.manual_seed(7)
    wanted = Net().state_dict()
    torch.save({"state_dict": wanted}, tmp_path / "best.ckpt")
    run(recipe, "--model=tests.cli.test_run.net_from", f"--model.path={tmp_path}/best.ckpt", "--loop.rounds=0")
    initial = torch.load(tmp_path / "c" / "initial.ckpt", weights_only=True)["state_dict"]
    assert initial.keys() == wanted.keys()
    assert all(torch.equal(initial[name], value) for name, value in wanted.items())


def test_loggers_are_told_apart_by_method_and_seed(recipe, tmp_path):
    method = tmp_path / "other.yaml"
    method.write_text("""
trainer:
  logger:
    - class_path: lightning.pytorch.loggers.CSVLogger
      init_args: {save_dir: "logs/{method}", name: "seed_{seed}"}
  callbacks: Random
""")
    machine = tmp_path / "machine.yaml"  # a part of the protocol
    machine.write_text("trainer: {accelerator: cpu}")
    files = ["-c", str(machine), "-c", str(method)]
    run(recipe, *files, "--loop.rounds=0", "--loop.seed=3", f"--loop.dirpath={tmp_path}/{{method}}")
    assert (tmp_path / "logs" / "other" / "seed_3" / "version_0" / "metrics.csv").is_file()
    assert not list(tmp_path.rglob("*{*"))
    kept = yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())
    assert kept["trainer"]["logger"][0]["init_args"]["save_dir"] == "logs/other"  # runs again in the same place
    from lightning_al.cli.recipes_checked import findings_of

    words = ["-c", str(recipe), *files]  # as a sweep looks at all of its seeds, seed 0 here
    assert findings_of(words, [str(tmp_path / "other")]) == []


def test_a_recipe_in_the_home_folder_is_found(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--config=~/{recipe.name}", "--print_config"])  # which no shell expands
    assert ended.value.code == 0
    assert "class_path: tests.helpers.projects.Data" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=f"did you mean {tmp_path / recipe.name}?"):
        main(["run", "--config=~/recip.yaml"])


def test_optimizers_of_the_optimizer_section_are_built_afresh_each_round(recipe, tmp_path, monkeypatch):
    seen = []

    def record(self):
        seen.append((id(self.optimizers()), len(self.optimizers().state), self.optimizers().param_groups[0]["lr"]))

    monkeypatch.setattr(Net, "on_train_start", record, raising=False)
    run(
        recipe,
        "--optimizer=SGD", "--optimizer.lr=0.5", "--optimizer.momentum=0.9",
        "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1",
    )  # fmt: skip
    assert [(state, lr) for _, state, lr in seen] == [(0, 0.5)] * 3
    [path] = (tmp_path / "c" / "round_2").glob("weights_*.ckpt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    initial = torch.load(tmp_path / "c" / "initial.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(weights["net.0.weight"], initial["net.0.weight"])


def command(*flags):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, "-m", "lightning_al.cli", "run", *flags], "env": env}


@pytest.mark.slow
def test_a_killed_run_goes_on_with_resume(recipe, tmp_path):
    flags = ["-c", str(recipe), "--loop.rounds=4", f"--loop.dirpath={tmp_path}/killed", "--resume"]
    slow = ["--trainer.max_epochs=300"]
    whole = [*flags[:3], f"--loop.dirpath={tmp_path}/whole"]
    process = subprocess.Popen(**command(*flags, *slow), cwd=tmp_path, stdout=-3, stderr=-3)
    while not list((tmp_path / "killed" / "ledger").glob("*-fitted.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(**command(*flags, *slow), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run(**command(*whole, *slow), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    a, b = Campaign.load(tmp_path / "killed").rounds, Campaign.load(tmp_path / "whole").rounds
    assert [(r.picked, r.scores, r.metrics) for r in a] == [(r.picked, r.scores, r.metrics) for r in b]


@pytest.mark.slow
def test_a_recipe_on_two_processes(recipe, tmp_path):
    run(recipe, "--trainer.strategy=ddp_fork", "--trainer.devices=2")
    assert [r.labelled for r in Campaign.load(tmp_path / "c").rounds] == [6, 10, 14]


@pytest.mark.slow
def test_a_recipe_on_two_processes_that_each_run_the_command(recipe, tmp_path):
    flags = ["-c", str(recipe), "--trainer.strategy=ddp", "--trainer.devices=2"]
    done = subprocess.run(**command(*flags), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [r.labelled for r in Campaign.load(tmp_path / "c").rounds] == [6, 10, 14]


def test_the_cli_can_be_subclassed(recipe, tmp_path):
    class Mine(ActiveLearningCLI):
        def before_instantiate_classes(self):
            seen.append(self.subcommand)

    seen = []
    Mine(args=["run", "-c", str(recipe)])
    assert seen == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("named", ["TypiClust", "lightning_al.acquisition.TypiClust"])
def test_the_initial_set_by_an_acquisition(recipe, tmp_path, named):
    from tests.helpers.projects import make_data

    torch.save(make_data()[0], tmp_path / "features.pt")
    more = {"initial_by": {"class_path": named, "init_args": {"encoder": "features.pt", "neighbours": 9}}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"loop": more}))
    run(recipe, "-c", "more.yaml")
    campaign = Campaign.load(tmp_path / "c")
    assert campaign.options["initial_by"] == {
        "class": "TypiClust", "selection": "top", "encoder": "features.pt", "max_clusters": 500, "neighbours": 9,
        "variant": "paper",
    }  # fmt: skip
    main(["run", "-c", str(tmp_path / "c" / "config.yaml"), f"--loop.dirpath={tmp_path}/again"])
    flags = ["--loop.initial_by=TypiClust", "--loop.initial_by.encoder=features.pt", "--loop.initial_by.neighbours=9"]
    run(recipe, *flags, f"--loop.dirpath={tmp_path}/flags")
    for other in ("again", "flags"):
        again = Campaign.load(tmp_path / other)
        assert [r.picked for r in again.rounds] == [r.picked for r in campaign.rounds]
        assert again.pool.labelled.tolist() == campaign.pool.labelled.tolist()
        assert again.options["initial_by"] == campaign.options["initial_by"]


@pytest.mark.few(1)
@pytest.mark.parametrize("method", ["random", "balanced"])
def test_the_initial_set_by_name(recipe, tmp_path, method):
    run(recipe, f"--loop.initial_by={method}", "--loop.rounds=0")
    assert Campaign.load(tmp_path / "c").options["initial_by"] == method


@pytest.mark.slow
def test_an_encoder_may_be_a_module(recipe, tmp_path):
    encoder = {"class_path": "torch.nn.Unflatten", "init_args": {"dim": 1, "unflattened_size": [2, 2]}}
    more = {"initial_by": {"class_path": "CoreSet", "init_args": {"encoder": encoder}}}
    callbacks = [{"class_path": "CoreSet", "init_args": {"encoder": encoder}}]
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"loop": more, "trainer": {"callbacks": callbacks}}))
    run(recipe, "-c", "more.yaml")
    options = Campaign.load(tmp_path / "c").options
    assert options["initial_by"] == options["acquisition"] == {
        "class": "CoreSet", "selection": "top", "encoder": "Unflatten",
    }  # fmt: skip


def test_an_unknown_way_to_choose_the_initial_set_is_refused(recipe, capsys):
    with pytest.raises(SystemExit, match=r"`initial_by`.*got 'entropy'"):
        run(recipe, "--loop.initial_by=entropy")


@pytest.mark.slow
def test_a_cli_of_ones_own_classes(recipe, tmp_path):
    """`LightningCLI(Net, Data)` with another name: the classes were taken for other arguments."""
    from tests.helpers.projects import Data, Net

    text = RECIPE.replace("model:\n  class_path: tests.helpers.projects.Net\n", "model:\n  lr: 0.1\n")
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("data:\n  class_path: tests.helpers.projects.Data\n", "data:\n  n: 40\n"))
    for given, named in [((Net, Data), {}), ((Net,), {"datamodule_class": Data})]:
        cli = ActiveLearningCLI(*given, **named, args=["run", "-c", str(path)])
        assert (cli.model.lr, cli.datamodule.n) == (0.1, 40)
        assert [r.labelled for r in cli.loop.history] == [6, 10, 14]


def test_an_error_of_the_users_own_keeps_its_traceback(recipe, tmp_path):
    class Fails(Net):
        def forward(self, x):
            raise KeyError("mine")

    path = tmp_path / "fails.yaml"
    path.write_text(RECIPE.replace("model:\n  class_path: tests.helpers.projects.Net\n", ""))
    with pytest.raises(ValueError, match="KeyError: 'mine'") as caught:
        ActiveLearningCLI(Fails, args=["run", "-c", str(path)])
    assert not is_ours(caught.value)
