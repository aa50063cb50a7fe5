"""Kill a real process anywhere, resume it, and get the same history as if it had never been killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign
from tests.projects import Data, Net, make_trainer, picks

# Each stage is a place where a killed process can be; it is hit for the n-th time. `kill` is SIGKILL: no clean-up runs.
SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    import lightning as L
    import lightning_al.campaign as campaign, lightning_al.loop as loop_module
    from lightning_al import ActiveLearningLoop
    from lightning_al.acquisition import SAAL
    from lightning_al.fitting import RepeatedFit
    from lightning_al.oracle import DatasetOracle
    from tests.projects import Data, Net, make_trainer

    folder, stage, after, reset = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    seen = 0

    def kill(here):
        global seen
        if here == stage:
            seen += 1
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)

    class Killer(L.Callback):
        def on_train_batch_end(self, *args): kill("fit")
        def on_validation_start(self, *args): kill("evaluate")

    class Net2(Net):
        def __init__(self):
            super().__init__(dropout=0.3)  # draws from the global generator in training
        def forward(self, x):
            if self._trainer is not None and self.trainer.predicting: kill("pool pass")
            return super().forward(x)
        def configure_optimizers(self):
            o = super().configure_optimizers()
            return [o], [__import__("torch").optim.lr_scheduler.StepLR(o, 2)]

    class Oracle2(DatasetOracle):
        def poll(self):
            answers = super().poll()
            kill("after the answer")
            return answers

    original = campaign.publish
    def publish(beside, path):
        kill("before the rename")
        if "answered" in path.name: kill("between answer and rename")
        original(beside, path)
        kill("after the rename")
    campaign.publish = publish

    class SAAL2(SAAL):
        def select(self, *args, **kwargs):
            kill("select")
            return super().select(*args, **kwargs)

    import torch
    data = Data(batch_size=3)
    data.prepare_data(); data.setup("fit")
    RepeatedFit.checkpoint_every_seconds = 0.0
    import lightning_al.fitting as fitting
    fitting.publish = publish
    model = Net2()
    loop = ActiveLearningLoop(model, Data(batch_size=3), initial=6, query_size=4, rounds=3, dirpath=folder,
                              subpool_size=30, reset=reset, oracle=None, seed=3)
    loop.oracle = Oracle2(data.train, loop.task)
    trainer = make_trainer(folder, Killer(), acquisition=SAAL2(), max_epochs=4)
    history = loop.run(trainer, resume=True)
    torch.save({"w": model.state_dict(), "steps": trainer.global_step}, folder + "/done.pt")
    """
)


def run(folder: Path, stage: str, after: int, reset: str) -> int:
    root = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), stage, str(after), reset]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def outcome(folder: Path):
    history = Campaign.load(folder).rounds
    done = torch.load(folder / "done.pt", weights_only=True)
    return [(r.picked, r.scores, r.metrics, r.labelled) for r in history], done["w"], done["steps"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    results = {}

    def of(reset):
        if reset not in results:
            folder = tmp_path_factory.mktemp(reset) / "c"
            assert run(folder, "never", 1, reset) == 0
            results[reset] = outcome(folder)
        return results[reset]

    return of


QUICK = [("fit", 19, "warm"), ("pool pass", 17, "initial"), ("between answer and rename", 2, "initial")]
SLOW = [
    *[("fit", n, reset) for n in (1, 7, 25) for reset in ("initial", "continue", "fresh")],
    *[("evaluate", n, "warm") for n in (2, 7, 11)],
    *[("pool pass", n, "continue") for n in (1, 3, 30)],
    *[("select", n, "warm") for n in (1, 3)],
    *[("after the answer", n, "initial") for n in (1, 2)],
    *[("before the rename", n, "continue") for n in (1, 2, 3, 4, 9, 15)],
    *[("after the rename", n, "warm") for n in (1, 2, 3, 4, 8, 14)],
]


def check(tmp_path, expected, stage, after, reset):
    folder = tmp_path / "c"
    assert run(folder, stage, after, reset) == -signal.SIGKILL
    assert run(folder, "never", 1, reset) == 0
    (history, weights, steps), (history0, weights0, steps0) = outcome(folder), expected(reset)
    assert history == history0
    assert steps == steps0
    assert all(torch.equal(weights[k], weights0[k]) for k in weights0)
    asked = [e["indices"] for e in Campaign.read_events(folder) if e["kind"] == "asked"]
    assert len({i for part in asked for i in part}) == sum(map(len, asked))  # no question twice


@pytest.mark.parametrize(("stage", "after", "reset"), QUICK)
def test_a_killed_campaign_goes_on_as_if_it_had_not_been(tmp_path, expected, stage, after, reset):
    check(tmp_path, expected, stage, after, reset)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "after", "reset"), SLOW)
def test_killed_anywhere(tmp_path, expected, stage, after, reset):
    check(tmp_path, expected, stage, after, reset)


def again(tmp_path, *, resume=True, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(Net(), Data(), **options)
    return loop.run(make_trainer(tmp_path), resume=resume), loop


def test_resume_with_no_ledger_starts_and_a_finished_one_returns_its_history(tmp_path):
    history, _ = again(tmp_path)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.is_file()}
    same, loop = again(tmp_path)
    assert same == history
    assert loop.status == "finished"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.is_file()} == files


def test_a_finished_campaign_can_be_given_more_rounds(tmp_path):
    again(tmp_path)
    longer, _ = again(tmp_path, rounds=4)
    assert picks(longer) == picks(again(tmp_path / "x", rounds=4)[0])


def test_running_again_without_resume_goes_on_in_the_same_process(tmp_path):
    history, loop = again(tmp_path)
    assert loop.run(make_trainer(tmp_path)) == history


@pytest.mark.parametrize("reset", ["initial", "warm"])
def test_lost_weights(tmp_path, reset):
    again(tmp_path, reset=reset)
    [weights] = (tmp_path / "c").rglob("weights_*.ckpt")  # only the last round's are kept
    weights.unlink()
    if reset == "warm":
        with pytest.raises(FileNotFoundError, match=r"weights_\w+.ckpt is missing, and `reset='warm'`"):
            again(tmp_path, reset=reset, rounds=3)
    else:
        longer, _ = again(tmp_path, reset=reset, rounds=3)  # fitted again from the initial weights
        assert picks(longer) == picks(again(tmp_path / "x", reset=reset, rounds=3)[0])
    (tmp_path / "c" / "initial.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"initial.ckpt is missing"):
        again(tmp_path, reset=reset)


def test_a_hostile_checkpoint_runs_no_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/ran",))

    again(tmp_path, rounds=1)
    folder = tmp_path / "c" / "round_2"
    folder.mkdir()
    torch.save({"state_dict": Hostile()}, folder / "resume.ckpt")
    again(tmp_path, rounds=2)
    assert not (tmp_path / "ran").exists()


def test_the_ledger_is_json(tmp_path):
    again(tmp_path)
    for path in (tmp_path / "c" / "ledger").iterdir():
        json.loads(path.read_text())
