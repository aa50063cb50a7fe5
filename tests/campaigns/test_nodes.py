"""Two machines without a common disk, or with the campaign's alone: what one process picks, killed and resumed too."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils.data import TensorDataset

import lightning_al
from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import CoreSet, Entropy, QueryByCommittee
from lightning_al.fitting import RepeatedFit
from lightning_al.storage import rows
from tests.helpers.marks import slow
from tests.helpers.nodes import on_two_nodes
from tests.helpers.processes import Frozen, run
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks
from tests.helpers.ranks import free_port
from tests.helpers.segmenters import dataset, loop_of

NODES = {"num_nodes": 2, "devices": 1, "strategy": "ddp"}


class Stop(L.Callback):
    """Ends the process, as a kill would, in an epoch of a round."""

    def __init__(self, round_number, epoch):
        self.at = (round_number, epoch)
        self.round = -1

    def on_round_start(self, trainer, pl_module, loop):
        self.round = loop.campaign.next_round

    def on_train_epoch_start(self, trainer, pl_module):
        if (self.round, trainer.current_epoch) == self.at:
            sys.exit(9)


def campaign(folder, *callbacks, acquisition=None, model=None, resume=False, epochs=1, **options):
    """Run one on this machine's part; its picks, metrics and weights, or the error that ended it."""
    best = [ModelCheckpoint(monitor="val_acc", mode="max")] if options.get("weights") == "best" else []
    trainer = make_trainer(
        ".", *best, *callbacks, acquisition=acquisition, max_epochs=epochs, enable_checkpointing=bool(best), **NODES
    )
    options = {"initial": 6, "query_size": 5, "rounds": 2, **options}
    loop = ActiveLearningLoop(model or Frozen(), Data(), dirpath=folder, **options)
    try:
        history = loop.run(trainer, resume=resume)
    except SystemExit:
        return "killed"
    weights = [float(w.detach().sum()) for w in loop.model.parameters()]
    return picks(history), [result.metrics for result in history], weights


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_two_machines_pick_what_one_process_picks(tmp_path, monkeypatch):
    """Rows in files, of which each machine has its own."""
    monkeypatch.setattr(rows, "LIMIT", 0)
    one, _ = run(tmp_path / "one", 1, acquisition=CoreSet(), subpool_size=37)
    two = on_two_nodes(
        lambda rank: campaign(tmp_path / "node_0" / "c", acquisition=CoreSet(), subpool_size=37), tmp_path
    )
    assert [picked for picked, *_ in two] == [picks(one)] * 2
    assert picks(Campaign.load(tmp_path / "node_0" / "c").rounds) == picks(one)
    assert files(tmp_path / "node_1") == []


@pytest.mark.parametrize("weights", [slow("last"), slow("best")])
def test_a_killed_campaign_goes_on_where_no_folder_is_shared(tmp_path, monkeypatch, weights):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)
    options = {"weights": weights, "epochs": 3, "acquisition": CoreSet()}

    def go(name, *callbacks):
        def part(rank):
            return campaign(tmp_path / name / "node_0" / "c", *callbacks, model=Net(), resume=True, **options)

        return on_two_nodes(part, tmp_path / name)

    whole = go("whole")
    assert whole[0] == whole[1]
    assert go("killed", Stop(1, 2)) == ["killed", "killed"]
    assert (tmp_path / "killed" / "node_0" / "c" / "round_1" / "resume.ckpt").is_file()
    assert go("killed") == whole
    assert files(tmp_path / "killed" / "node_1") == []
    assert files(tmp_path / "killed" / "node_0" / "tmp") == []


@pytest.mark.slow
def test_the_campaigns_folder_may_be_shared_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)
    shared = tmp_path / "shared"
    shared.mkdir()

    def part(*callbacks):
        return lambda rank: campaign(shared / "c", *callbacks, model=Net(), resume=True, epochs=3, weights="best")

    assert on_two_nodes(part(Stop(1, 2)), tmp_path, shared=shared) == ["killed", "killed"]
    first, second = on_two_nodes(part(), tmp_path, shared=shared)
    assert first == second
    assert len(first[0]) == 3
    assert files(tmp_path / "node_0") == files(tmp_path / "node_1") == []


@pytest.mark.slow
def test_members_of_a_committee_with_their_best_weights(tmp_path):
    def part(rank):
        committee = QueryByCommittee(members=2)
        return campaign(tmp_path / "node_0" / "c", acquisition=committee, model=Net(), weights="best", rounds=1)

    first, second = on_two_nodes(part, tmp_path)
    assert first == second
    assert len(first[0]) == 2


@pytest.mark.slow
def test_told_masks_reach_a_machine_that_does_not_see_their_files(tmp_path):
    data = dataset(12)
    mask_of = data.tensors[1]

    def part(rank):
        hidden = TensorDataset(data.tensors[0], torch.full_like(mask_of, 255))
        loop, _ = loop_of(tmp_path / "node_0", Entropy(), train=hidden, oracle=AwaitTell(), initial=4, query_size=2)

        def ask():
            return loop.ask(make_trainer(".", acquisition=Entropy(), max_epochs=1, **NODES))

        first = ask()
        loop.tell(first, [mask_of[i] for i in first])
        second = ask()
        trained = [loop.datamodule.samples.labelled(loop.pool, loop.campaign.labels, ())[i] for i in range(4)]
        same = [torch.equal(sample[1], mask_of[i]) for i, sample in zip(first, trained, strict=True)]
        return second, same, [float(w.detach().sum()) for w in loop.model.parameters()]

    first, second = on_two_nodes(part, tmp_path)
    assert first == second
    assert first[1] == [True] * 4
    assert files(tmp_path / "node_1") == []


def test_a_campaign_on_the_disk_of_another_machine_is_not_begun_anew(tmp_path):
    """As where the machines came in another order after a restart."""
    folder = tmp_path / "node_1"
    run(tmp_path, 1, acquisition=Entropy(), rounds=0, dirpath=folder / "c")

    def part(rank):
        try:
            campaign("c", resume=True)
        except Exception as error:
            return str(error)

    for said in on_two_nodes(part, tmp_path):
        assert "Process 1, on" in said
        assert "events of a campaign in" in said
        assert "Begin with that machine as the first" in said
    assert files(tmp_path / "node_0") == []


@pytest.mark.slow
def test_a_score_loads_the_checkpoint_of_the_first_machine(tmp_path):
    (tmp_path / "node_0").mkdir()
    model = Frozen()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    torch.save(model.state_dict(), tmp_path / "node_0" / "weights.ckpt")
    data = TensorDataset(*make_data(30))
    one = lightning_al.score(model, data, Entropy(), 5)

    def part(rank):
        trainer = make_trainer(".", acquisition=Entropy(), **NODES)
        path = tmp_path / "node_0" / "weights.ckpt"
        return lightning_al.score(Frozen(), data, Entropy(), 5, ckpt_path=path, trainer=trainer).picks

    assert on_two_nodes(part, tmp_path) == [one.picks] * 2


@pytest.mark.slow
def test_best_weights_in_pieces_need_a_shared_folder(tmp_path):
    """Which is said before anything trains."""

    def part(rank):
        strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
        best = ModelCheckpoint(monitor="val_acc", mode="max")
        trainer = make_trainer(".", best, enable_checkpointing=True, **{**NODES, "strategy": strategy})
        options = {"initial": 6, "query_size": 5, "rounds": 1, "weights": "best"}
        try:
            ActiveLearningLoop(Late(), Data(), dirpath=tmp_path / "node_0" / "c", **options).run(trainer)
        except Exception as error:
            return str(error)

    assert all('`weights="best"` reads a checkpoint of which each process' in e for e in on_two_nodes(part, tmp_path))
    assert files(tmp_path / "node_0") == files(tmp_path / "node_1") == []


class Late(Frozen):
    """Laid out by the strategy."""

    def configure_model(self):
        pass


def test_copies_of_a_process_on_two_machines_are_refused(tmp_path):
    trainer = make_trainer(tmp_path, num_nodes=2, devices=1, strategy=DDPStrategy(start_method="spawn"))
    with pytest.raises(ValueError, match="`num_nodes=2` with a strategy that spawns or forks"):
        ActiveLearningLoop(Net(), Data(), initial=6, query_size=5, dirpath=tmp_path / "c").run(trainer)


SCRIPT = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from tests.campaigns.test_nodes import Stop, campaign
    from tests.helpers.nodes import hide
    from tests.helpers.projects import Net
    from lightning_al.fitting import RepeatedFit

    root, number, kill = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "kill"
    RepeatedFit.checkpoint_every_seconds = 0.0
    if number == 1:
        hide(root / "node_0")
    stop = [Stop(1, 2)] if kill else []
    done = campaign(root / "node_0" / "c", *stop, model=Net(), resume=True, epochs=3, weights="best")
    if done == "killed":
        sys.exit(9)
    Path("done.json").write_text(json.dumps(done))
    """
)


def agents(folder, *arguments):
    """Start torchrun on two machines, each in a folder of its own, and wait for both; their exit codes."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=two", "--local-addr=127.0.0.1"]
    options.append(f"--rdzv-endpoint=127.0.0.1:{free_port()}")
    started = []
    for number in range(2):
        where = folder / f"node_{number}"
        where.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "torch.distributed.run", *options, f"--node-rank={number}"]
        command += [str(folder / "script.py"), str(folder), str(number), *arguments]
        with (where / "log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=where, env=env, stdout=log, stderr=log))
    codes = [agent.wait(600) for agent in started]
    return codes, [(folder / f"node_{number}" / "log").read_text()[-3000:] for number in range(2)]


@pytest.mark.slow
def test_two_agents_of_torchrun_resume_a_killed_campaign(tmp_path):
    """Each with its own working folder, the campaign on the disk of the first."""
    results = {}
    for name, runs in {"whole": ["go"], "killed": ["kill", "go"]}.items():
        folder = tmp_path / name
        for argument in runs:
            codes, logs = agents(folder, argument)
            assert all(codes) if argument == "kill" else codes == [0, 0], logs
        results[name] = [json.loads((folder / f"node_{number}" / "done.json").read_text()) for number in (0, 1)]
    assert results["killed"] == results["whole"]
    assert results["whole"][0] == results["whole"][1]
    assert sorted(path.name for path in files(tmp_path / "killed" / "node_1")) == ["done.json", "log"]
