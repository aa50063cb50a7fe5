import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_al import Campaign
from lightning_al.cli import main
from lightning_al.cli.sweep import slots_of
from tests.helpers.curves import write_campaign
from tests.helpers.recipes import RECIPES, ROOT
from tests.helpers.signals import signals_as_ever
from tests.helpers.stand_in import stand_in_for_python
from tests.sweep.test_campaigns import finish

compare = importlib.import_module("lightning_al.report.compare")  # which the function of that name hides

# In place of Python: a run copies a finished campaign, unless there is a file that says that its method fails.
STAND_IN = """#!/bin/sh
[ "$2" != lightning_al ] && { [ $# = 4 ] && cp findings "$4"; exit 0; }
for word; do case $word in --loop.dirpath=*) folder=${word#--loop.dirpath=};; esac; done
echo "$folder $OMP_NUM_THREADS" >> ran
[ -e fails/$(basename $(dirname $folder)) ] && { echo error: no such thing; exit 2; }
mkdir -p $folder && cp -r finished/. $folder
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of a sweep, whose runs cost nothing."""
    monkeypatch.chdir(tmp_path)
    stand_in_for_python(tmp_path, STAND_IN, monkeypatch)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for drawn in ("plot", "plot_pairwise"):  # takes longer than all else
        monkeypatch.setattr(compare, drawn, lambda *args, **kwargs: None)
    Path("findings").write_text("[]\n")
    write_campaign(tmp_path / "finished", [0.5, 0.7])
    finish(tmp_path / "finished", 1)
    return tmp_path


def sweep(*flags, methods="random,badge", seeds="0..1"):
    main(
        [
            *("sweep", "-c", str(RECIPES / "quickstart.yaml"), "--methods", methods, "--seeds", seeds),
            *("--dirpath", "runs/x", *flags),
        ]
    )


def ran():
    path = Path("ran")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split()[0] for line in lines]


FOLDERS = [f"runs/x/{method}/seed_{seed}" for seed in (0, 1) for method in ("random", "badge")]


def test_it_runs_all_compares_them_and_runs_none_again(folder, capsys):
    sweep("--threads", "3")
    assert Path("ran").read_text().splitlines() == [f"{each} 3" for each in FOLDERS]
    ran()
    said = capsys.readouterr().out
    assert "4 runs, 2 methods by 2 seeds; 1 at a time, OMP_NUM_THREADS=3; in runs/x" in said
    assert "[4/4] badge, seed 1: finished in 0:0" in said
    main(["compare", "runs/x"])
    assert said.endswith(f"\n\n{capsys.readouterr().out}")
    sweep()
    assert ran() == []
    assert capsys.readouterr().out.count("finished already") == 4
    sweep(seeds="0..2")
    assert ran() == ["runs/x/random/seed_2", "runs/x/badge/seed_2"]
    sweep("--trainer.max_epochs=3")  # others than those that are finished
    assert ran() == FOLDERS


def test_what_fails_is_named_in_the_end_and_tried_again_the_next_time(folder, capsys):
    Path("fails").mkdir()
    Path("fails/badge").touch()
    with pytest.raises(SystemExit, match="2 of 4 runs failed") as ended:
        sweep()
    assert ended.value.code != 0
    assert ran() == FOLDERS
    said = capsys.readouterr().out
    assert "badge, seed 0: FAILED in 0:0" in said
    table = [line for line in said.splitlines() if line.startswith("| badge, seed")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in table] == [
        [f"badge, seed {seed}", "exit code 2: error: no such thing", f"runs/x/badge/seed_{seed}.log"] for seed in (0, 1)
    ]
    assert "random (n=2)" in said  # the others are compared
    Path("fails/badge").unlink()
    sweep()
    assert ran() == FOLDERS[1::2]


def test_where_all_fail_there_is_nothing_to_compare(folder, capsys):
    Path("fails").mkdir()
    Path("fails/random").touch()
    with pytest.raises(SystemExit, match="1 of 1 runs failed"):
        sweep(methods="random", seeds="0")
    assert "Traceback" not in capsys.readouterr().out


def test_commands_are_printed_for_any_scheduler_and_nothing_runs(folder, capsys):
    sweep("--print-commands", "--jobs", "2", "--gpus", "3,5", "--threads", "4", "--model.num_classes", "10")
    said = capsys.readouterr()
    assert ran() == []
    assert not Path("runs").exists()
    lines = said.out.splitlines()
    assert len(lines) == 4
    for line, each in zip(lines, FOLDERS, strict=True):
        assert line.endswith(f"--model.num_classes 10 --loop.seed={each[-1]} --loop.dirpath={each} --resume")
    assert [line.removeprefix(f"cd {folder} && ").split(" ", 2)[:2] for line in lines[:2]] == [
        ["OMP_NUM_THREADS=4", "CUDA_VISIBLE_DEVICES=3"],
        ["OMP_NUM_THREADS=4", "CUDA_VISIBLE_DEVICES=5"],
    ]
    for line in lines:
        subprocess.run(["sh", "-c", line], check=True, cwd="/")
    assert ran() == FOLDERS
    sweep("--model.num_classes", "10")  # they were run by others: each is looked at, which for real takes seconds
    assert len(ran()) == 4
    sweep("--print-commands", "--model.num_classes", "10")
    said = capsys.readouterr()
    assert said.out.count("lightning_al run") == 0
    assert "4 of 4 runs are finished and left out." in said.err


def test_an_array_for_slurm_is_written(folder, capsys):
    sweep("--slurm", "array.sh", "--jobs", "3")
    said = capsys.readouterr()
    assert said.out == ""
    assert "array.sh: 4 tasks. Submit it with `sbatch array.sh`" in said.err
    assert "#SBATCH --array=0-3%3" in Path("array.sh").read_text()
    subprocess.run(["bash", "array.sh"], env={**os.environ, "SLURM_ARRAY_TASK_ID": "2"}, check=True)
    assert ran() == FOLDERS[2:3]


def test_all_that_is_wrong_is_said_before_anything_runs(folder, capsys):
    for flags in ([], ["--print-commands"], ["--slurm", "array.sh"]):
        with pytest.raises(SystemExit) as ended:
            sweep("--jobs", "0", "--threads", "x", "--gpus", "0,,1", *flags, methods="badge,randm", seeds="3..1")
        lines = str(ended.value).splitlines()
        assert lines[0] == f"error: {6 if '--slurm' in flags else 5} things cannot be as they are:"
        words = ("`--jobs` must be", "`--threads` must be", "no method 'randm'", "1..3?", "got '0,,1'")
        assert all(any(each in line for line in lines) for each in words)
    assert not Path("runs").exists()
    assert not Path("array.sh").exists()
    assert ran() == []


def test_what_recipes_are_refused_for_is_said_before_anything_runs(folder):
    Path("findings").write_text(json.dumps(["badge: of no use", "random: neither"]))
    with pytest.raises(SystemExit, match=r"2 things cannot be as they are:\n.* badge: of no use\n.* random: neither"):
        sweep()
    assert ran() == []


def test_what_slurm_gives_a_task_is_said_in_its_file(folder):
    with pytest.raises(SystemExit, match="`--gpus`: of runs that are started here; what a task of Slurm gets is said"):
        sweep("--slurm", "array.sh", "--gpus", "0")


def test_a_value_of_the_recipe_may_follow_its_option_as_a_word(folder, capsys):
    # of one method: no two runs share a folder
    words = ["-c", str(RECIPES / "quickstart.yaml"), "--methods", "random,", "--seeds", "0,1", "--dirpath", "x/{seed}"]
    main(["sweep", "--trainer.max_epochs", "3", *words, "--print-commands"])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert all("--trainer.max_epochs 3" in line for line in said)


def test_a_reader_of_recipes_that_dies_is_a_finding(folder):
    Path("findings").write_text("Segmentation fault")
    with pytest.raises(SystemExit, match="The recipes could not be read"):
        sweep()


@pytest.mark.parametrize("words", [["more"], ["--model.x=1", "more"], ["--method", "x"], ["--modle.x=1"]])
def test_an_unknown_argument_is_refused(folder, words, capsys):
    with pytest.raises(SystemExit) as ended:
        sweep(*words)
    assert ended.value.code == 2
    assert re.match("error: (Nothing takes|There is no option) ", capsys.readouterr().err)


def test_protocol_and_methods_are_needed(capsys):
    with pytest.raises(SystemExit):
        main(["sweep"])
    assert "Required, and not given: `-c`, `--methods`." in capsys.readouterr().err


def test_a_folder_that_is_a_file(folder):
    Path("runs").write_text("")
    with pytest.raises(SystemExit, match=r"error: .*runs"):
        sweep()


def test_cores_are_shared(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert slots_of(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert slots_of(20) == [{"OMP_NUM_THREADS": "1"}] * 20
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert slots_of(2) == [{"OMP_NUM_THREADS": "5"}] * 2
    assert slots_of(2, threads=7) == [{"OMP_NUM_THREADS": "7"}] * 2
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots_of(3, 1, ["4", "6"])] == ["4", "6", "4"]


class TestRecipesChecked:
    @pytest.fixture(autouse=True)
    def cli(self, monkeypatch):
        pytest.importorskip("jsonargparse")
        monkeypatch.setattr(sys, "argv", ["lightning-al"])

    def of(self, *methods, flags=()):
        files = [RECIPES / "quickstart.yaml", *(RECIPES / f"{method}.yaml" for method in methods)]
        return [*(word for file in files for word in ("-c", str(file))), *flags]

    def test_what_is_wrong_is_said_once_with_the_methods_that_it_holds_for(self):
        from lightning_al.cli.recipes_checked import findings_by_method

        # no GPU is needed to look at what will need one
        wrong = ["--loop.query_size=0", "--loop.rounds=-1", "--trainer.accelerator=gpu"]
        found = findings_by_method(
            [
                ("a", self.of("acquisitions/random", flags=wrong), []),
                ("b", self.of("acquisitions/learning_loss", "training/sam", flags=wrong), []),
                ("c", self.of("acquisitions/random", flags=["--trainer.callbacks=NoSuchAcquisition"]), []),
            ]
        )
        assert [finding.partition(":")[0] for finding in found] == ["a, b", "a, b", "b", "c"]
        for finding, words in zip(
            found, ("`query_size` must be", "`rounds` must be", "LearningLoss needs a model", "NoSuch"), strict=True
        ):
            assert words in finding

    @pytest.mark.slow
    def test_campaigns_that_began_with_other_options_are_refused(self, tmp_path):
        from lightning_al.cli.recipes_checked import RecipeCLI, findings_by_method

        words = self.of("acquisitions/saal")
        recipe = RecipeCLI([*words, "--loop.seed=1"])
        config = recipe.parser.dump(recipe.config, skip_none=False)
        folders = [str(tmp_path / name) for name in ("begun", "too", "new")]
        for folder in folders[:2]:
            Path(folder).mkdir()
            (Path(folder) / "config.yaml").write_text(config)
        found = findings_by_method(
            [
                ("same", words, folders),
                ("longer", [*words, "--loop.rounds=9"], folders),
                ("other", [*words, "--trainer.max_epochs=3", "--trainer.callbacks.rho=0.5"], folders),
            ]
        )
        [finding] = found
        assert finding.startswith(f"other: {folders[0]} (and 1 more) began with other options: trainer.callbacks.rho: ")
        assert "trainer.max_epochs: " in finding


def real_sweep(folder):
    words = [
        *("sweep", "-c", str(RECIPES / "quickstart.yaml"), "--methods", "random,saal", "--seeds", "0..1"),
        *("--jobs", "2", "--threads", "1", "--dirpath", "runs", "--trainer.max_epochs=5", "--loop.rounds=3"),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_al", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=signals_as_ever,
    )


def interrupt(process):
    process.send_signal(signal.SIGINT)


def kill_all(process):
    """As a machine that goes down does."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        os.killpg(int(child), signal.SIGKILL)


def trained(runs):
    return len(list(runs.rglob("*-fitted.json")))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # four sweeps
def test_one_that_is_killed_in_the_middle_goes_on_bit_by_bit(tmp_path):
    pytest.importorskip("sklearn")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = real_sweep(tmp_path / "whole")
    said, _ = whole.communicate()
    assert whole.returncode == 0
    assert "| random (n=2)" in said

    runs = tmp_path / "killed" / "runs"
    for kill, code in ((interrupt, 128 + signal.SIGINT), (kill_all, -signal.SIGKILL)):
        process, before = real_sweep(tmp_path / "killed"), trained(runs)
        while trained(runs) < before + 3 and process.poll() is None:
            time.sleep(0.02)
        kill(process)
        stopped, _ = process.communicate()
        assert process.returncode == code
        assert len(list(runs.rglob("swept.json"))) < 4
        told = f"To go on: lightning-al sweep -c {RECIPES / 'quickstart.yaml'} --methods random,saal"
        assert (told in stopped) == (kill is interrupt)
    again = real_sweep(tmp_path / "killed")
    said_again, _ = again.communicate()
    assert again.returncode == 0
    assert said_again.split("\n\n")[1] == said.split("\n\n")[1]  # the table

    folders = sorted((tmp_path / "whole" / "runs").glob("*/seed_*/"))
    assert len(folders) == 4
    for folder in folders:
        other = runs / folder.relative_to(tmp_path / "whole" / "runs")
        one, two = Campaign.load(folder).rounds, Campaign.load(other).rounds
        assert [(r.picked, r.scores, r.metrics) for r in one] == [(r.picked, r.scores, r.metrics) for r in two]
        files = sorted(path.relative_to(folder) for path in folder.rglob("*.ckpt"))
        assert len(files) >= 2
        for file in files:
            assert_equal(*(torch.load(path / file, weights_only=True) for path in (folder, other)))


def assert_equal(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_equal(a[name], b[name])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b
