"""Two processes pick what one picks, from the same weights, however they are launched."""

import json
import os
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, DatasetOracle
from lightning_al.acquisition import SAAL, CoreSet, Entropy, Random
from lightning_al.fitting import RepeatedFit
from tests.helpers.marks import slow
from tests.helpers.processes import Frozen, fork, run
from tests.helpers.projects import Data, Net, make_trainer, picks
from tests.helpers.ranks import under_torchrun

# Every acquisition from the same weights: tests/acquisition/test_contract.py. Here whole campaigns.
ACQUISITIONS = {
    "random": Random,
    "saal": SAAL,
    "saal_groups": lambda: SAAL(group_size=4, selection="top"),
    "core_set": CoreSet,
}


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [slow("random"), "saal", slow("saal_groups"), "core_set"])
def test_two_forked_processes_pick_what_one_picks(tmp_path, name):
    one, _ = run(tmp_path, 1, acquisition=ACQUISITIONS[name](), subpool_size=37)
    two, loop = run(tmp_path, 2, acquisition=ACQUISITIONS[name](), subpool_size=37)
    assert picks(one) == picks(two)
    for a, b in zip(one, two, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-12)
        assert a.metrics == pytest.approx(b.metrics)
    assert loop.status == "finished"


@pytest.mark.few(1)
@pytest.mark.parametrize("left", [0, slow(1), 2, slow(5)])
def test_three_processes_and_a_nearly_empty_pool(tmp_path, left):
    options = {"initial": 12 - left, "query_size": 2, "rounds": None, "data": None}
    one, _ = run(tmp_path, 1, **{**options, "data": Data(12)}) if left >= 2 else (None, None)
    if left < 2:
        options["query_size"], options["rounds"] = max(left, 1), (0 if left == 0 else None)
        one, _ = run(tmp_path, 1, **{**options, "data": Data(12)})
    three, _ = run(tmp_path, 3, **{**options, "data": Data(12)})
    assert picks(one) == picks(three)
    assert three[-1].labelled == 12


@pytest.mark.slow
def test_groups_on_three_processes_with_fewer_groups(tmp_path):
    options = {"acquisition": SAAL(group_size=8, selection="top"), "data": Data(20), "query_size": 3, "rounds": 1}
    one, _ = run(tmp_path, 1, **options)
    three, _ = run(tmp_path, 3, **{**options, "acquisition": SAAL(group_size=8, selection="top"), "data": Data(20)})
    assert picks(one) == picks(three)


@pytest.mark.slow
def test_ask_and_tell_between_launches(tmp_path):
    strategy, devices = fork(2)
    loop = ActiveLearningLoop(
        Net(), Data(), initial=6, query_size=5, dirpath=tmp_path / "c", oracle=AwaitTell()
    )  # fmt: skip

    def ask():
        return loop.ask(make_trainer(tmp_path, strategy=fork(2)[0], devices=devices, max_epochs=1))

    first = ask()
    loop.tell(first, [0, 1, 2, 0, 1, 2])
    second = ask()
    third = ask()
    assert len({*first, *second, *third}) == 16


def test_an_error_on_one_rank_reaches_the_others(tmp_path):
    class Broken(Entropy):
        def select(self, rows, k, *, labelled_rows, generator):
            raise ValueError("broken selection")

    with pytest.raises(Exception, match="broken selection"):  # and no time-out
        run(tmp_path, 2, acquisition=Broken())


def test_resume_on_another_number_of_processes(tmp_path):
    whole, _ = run(tmp_path, 1, rounds=3)
    run(tmp_path / "part", 1, rounds=1, dirpath=tmp_path / "part" / "c")
    strategy, devices = fork(2)
    trainer = make_trainer(tmp_path, strategy=strategy, devices=devices, max_epochs=1)
    loop = ActiveLearningLoop(
        Frozen(), Data(), initial=6, query_size=5, rounds=3, dirpath=tmp_path / "part" / "c"
    )  # fmt: skip
    assert picks(loop.run(trainer, resume=True)) == picks(whole)


SCRIPT = textwrap.dedent(
    """
    import json, sys
    from datetime import timedelta
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
    from lightning_al import ActiveLearningLoop, acquisition
    from tests.helpers.projects import Data, make_trainer
    from tests.helpers.processes import Frozen

    folder, start, devices, name, options = *sys.argv[1:3], int(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
    if __name__ == "__main__":
        strategy = DDPStrategy(start_method=start) if devices > 1 else "auto"
        made = getattr(acquisition, name)(**options)
        trainer = make_trainer(folder, acquisition=made, strategy=strategy, devices=devices, max_epochs=1)
        loop = ActiveLearningLoop(Frozen(), Data(), initial=6, query_size=5, rounds=2, subpool_size=37)
        history = loop.run(trainer)
        json.dump([r.picked for r in history], open(f"{folder}/{start}-{devices}-{trainer.global_rank}.json", "w"))
    """
)


def script(tmp_path, start, devices, *launcher, acquisition="SAAL", **given):
    root = Path(__file__).parents[2]
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    env |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(path), str(tmp_path), start, str(devices), acquisition, json.dumps(given)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(p.read_text()) for p in sorted(tmp_path.glob(f"{start}-{devices}-*.json"))]


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]


@pytest.mark.slow
def test_popen_and_torchrun_pick_what_one_process_picks(tmp_path):
    [one] = script(tmp_path, "popen", 1, sys.executable)
    popen = script(tmp_path, "popen", 2, sys.executable)
    assert popen == [one, one]
    for path in tmp_path.glob("popen-2-*.json"):
        path.unlink()
    assert script(tmp_path, "popen", 2, *TORCHRUN) == [one, one]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("VAAL", {"steps": 5, "width": 4}), ("QueryByCommittee", {"members": 2})]
)
def test_what_trains_beside_the_model_does_so_under_torchrun(tmp_path, name, options):
    """A Trainer of its own, or the user's again, inside the processes of the user's."""
    [one] = script(tmp_path, "popen", 1, sys.executable, acquisition=name, **options)
    assert script(tmp_path, "popen", 2, *TORCHRUN, acquisition=name, **options) == [one, one]


@pytest.mark.slow
def test_spawn_picks_what_one_process_picks(tmp_path):
    [one] = script(tmp_path, "popen", 1, sys.executable)
    assert script(tmp_path, "spawn", 2, sys.executable) == [one]


class Late(Frozen):
    """Laid out by the strategy, and validated without sums over processes."""

    def configure_model(self):
        pass

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", 1.0)


def sharded(folder, data, tensor):
    strategy = ModelParallelStrategy(data_parallel_size=data, tensor_parallel_size=tensor)
    options = {"strategy": strategy, "devices": data * tensor} if data * tensor > 1 else {}
    trainer = make_trainer(folder, max_epochs=1, **options)
    assert trainer.world_size == data * tensor
    loop = ActiveLearningLoop(Late(), Data(), initial=6, query_size=5, rounds=2, subpool_size=37)
    return picks(loop.run(trainer))


@pytest.mark.parametrize(("data", "tensor"), [(2, 1), slow(2, 2)])
def test_sharded_weights_pick_what_one_process_picks(tmp_path, monkeypatch, data, tensor):
    """FSDP2; with tensor parallelism, ranks that share rows bring each of them twice."""
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)  # none: they would be folders
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    many = under_torchrun(lambda rank: sharded(tmp_path / "many", data, tensor), data * tensor)
    assert many == [sharded(tmp_path / "one", 1, 1)] * (data * tensor)


RESUMED = textwrap.dedent(
    """
    import sys
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.strategies import ModelParallelStrategy
    from torch.distributed.fsdp import fully_shard
    from lightning_al import ActiveLearningLoop
    from lightning_al.storage.weights import in_pieces, whole
    from tests.helpers.projects import Data, Net, make_trainer, picks

    class Sharded(Net):
        def configure_model(self):
            if not in_pieces(self.modules()):
                fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def campaign(name, rounds, reset, weights, one_file):
        strategy = ModelParallelStrategy(2, 1, save_distributed_checkpoint=not one_file)
        keep = [ModelCheckpoint(monitor="val_acc", mode="max")] if weights == "best" else []
        of_all = {"strategy": strategy, "devices": 2, "max_epochs": 2, "enable_checkpointing": True}
        trainer = make_trainer(sys.argv[1], *keep, **of_all)
        model = Sharded()
        options = {"reset": reset, "weights": weights, "dirpath": f"{sys.argv[1]}/{name}"}
        loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=rounds, **options)
        history = loop.run(trainer, resume=True)
        assert in_pieces(model.modules())
        return picks(history), [r.metrics for r in history], whole(model.state_dict())

    if __name__ == "__main__":
        for i, options in enumerate([("continue", "last", True), ("warm", "best", False), ("initial", "best", True)]):
            wanted = campaign(f"whole_{i}", 3, *options)
            campaign(f"part_{i}", 1, *options)
            got = campaign(f"part_{i}", 3, *options)
            assert got[:2] == wanted[:2], (options, got[:2], wanted[:2])
            for name, value in wanted[2].items():
                assert torch.equal(value, got[2][name]), (options, name)
        try:
            campaign("fresh", 1, "fresh", "last", True)
        except ValueError as error:
            assert "sharded over processes" in str(error)
        else:
            raise AssertionError("not refused")
    """
)


@pytest.mark.slow
def test_sharded_weights_go_on_after_a_resume(tmp_path):
    """With momentum, the best weights of a round, checkpoints in pieces or in one file; they really train."""
    (tmp_path / "resumed.py").write_text(RESUMED)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "resumed.py", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_slow_oracle_and_a_slow_selection_do_not_time_the_others_out(tmp_path):
    """The process group gives up after half a minute, rank 0 takes longer."""

    class Slow(DatasetOracle):
        def poll(self):
            time.sleep(33)
            return super().poll()

    class SlowEntropy(Entropy):
        def select(self, rows, k, *, labelled_rows, generator):
            time.sleep(33)
            return super().select(rows, k, labelled_rows=labelled_rows, generator=generator)

    strategy = DDPStrategy(start_method="fork", timeout=timedelta(seconds=30))
    trainer = make_trainer(tmp_path, acquisition=SlowEntropy(), strategy=strategy, devices=2, max_epochs=1)
    loop = ActiveLearningLoop(Frozen(), Data(), initial=6, query_size=5, rounds=1, oracle=Slow(), dirpath=tmp_path)
    assert [r.labelled for r in loop.run(trainer)] == [6, 11]


class ForgetsOnOne(L.Callback):
    def on_round_end(self, trainer, pl_module, loop):
        if trainer.global_rank == 1:
            loop.campaign.labels[loop.pool.labelled.tolist()[0]] += 1


def test_labels_that_differ_between_processes_are_refused(tmp_path):
    """Before the next fit, on every rank."""
    strategy, devices = fork(2)
    trainer = make_trainer(tmp_path, ForgetsOnOne(), strategy=strategy, devices=devices, max_epochs=1)
    loop = ActiveLearningLoop(Frozen(), Data(), initial=6, query_size=5, rounds=3, dirpath=tmp_path / "c")
    with pytest.raises(Exception, match=r"The processes disagree about the labels .*Every rank must run"):
        loop.run(trainer)
    assert len(Campaign.load(tmp_path / "c").rounds) == 1


@pytest.mark.slow
def test_every_process_takes_the_labels_of_the_ledger(tmp_path):
    """Where each was told others, between launches, those of rank 0 are on disk and count."""
    (tmp_path / "told.py").write_text(TOLD_APART)
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "told.py", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    labels = {str(i): label for i, label in Campaign.load(tmp_path / "campaign").labels.items()}
    assert [json.loads((tmp_path / f"labels_{rank}.json").read_text()) for rank in (0, 1)] == [labels] * 2


TOLD_APART = textwrap.dedent(
    """
    import json, sys
    from datetime import timedelta
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
    from lightning_al import ActiveLearningLoop, AwaitTell
    from tests.helpers.projects import Data, make_trainer
    from tests.helpers.processes import Frozen

    strategy = DDPStrategy()
    trainer = make_trainer(sys.argv[1], strategy=strategy, devices=2, max_epochs=1)
    loop = ActiveLearningLoop(
        Frozen(), Data(), initial=6, query_size=5, oracle=AwaitTell(), dirpath=f"{sys.argv[1]}/campaign"
    )
    asked = loop.ask(trainer)
    loop.tell(asked, [(i + trainer.global_rank) % 3 for i in asked])
    loop.ask(trainer)
    json.dump(loop.campaign.labels, open(f"{sys.argv[1]}/labels_{trainer.global_rank}.json", "w"))
    """
)
