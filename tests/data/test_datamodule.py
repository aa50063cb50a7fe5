"""The user's datamodule seen through a pool."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearningLoop, ClassificationTask, Pool
from lightning_al._compat import is_overridden
from lightning_al.data.for_trainer import ForTrainer
from tests.helpers.projects import Data, Net, make_data, make_trainer


def opened(tmp_path, data=None, model=None, labelled=(0, 1, 2, 3, 4), seed=0, **options):
    active = ActiveDataModule(data or Data(), task=ClassificationTask(), **options)
    trainer = make_trainer(tmp_path)
    active.begin(trainer, seed=seed)
    active.open(trainer, model or Net())
    pool = Pool(len(active.train_set))
    pool.label(list(labelled))
    active.follow(pool, dict.fromkeys(labelled, 2))
    return active


def collate(samples):
    return torch.utils.data.default_collate(samples)


def init_worker(_):
    pass


def test_the_users_loader_settings_are_kept(tmp_path):
    settings = {
        "num_workers": 1, "collate_fn": collate, "pin_memory": False, "timeout": 7.0, "worker_init_fn": init_worker,
        "prefetch_factor": 3, "persistent_workers": True, "drop_last": False, "multiprocessing_context": "fork",
    }  # fmt: skip
    active = opened(tmp_path, Data(batch_size=3, **settings))
    train, pool = active.train_dataloader(), active.predict_dataloader()
    for name in ("num_workers", "pin_memory", "timeout", "worker_init_fn", "prefetch_factor"):
        assert getattr(train, name) == getattr(pool, name) == settings[name]
    assert train.collate_fn == pool.collate_fn.collate == collate
    assert train.persistent_workers
    assert train.multiprocessing_context.get_start_method() == "fork"
    assert train.batch_size == pool.batch_size == 3
    assert [len(x) for x, _ in train] == [3, 2]


def test_pool_batch_size_and_groups(tmp_path):
    active = opened(tmp_path, pool_batch_size=7)
    active.pool_pass(torch.arange(20), 3)
    assert [len(x) for x, _ in active.predict_dataloader()] == [9, 9, 2]  # rounded up to whole groups


def test_the_pool_is_scored_in_candidate_order_without_augmentation(tmp_path):
    class Augmented(Data):
        def train_dataloader(self):
            x, y = make_data()
            return DataLoader(TensorDataset(x + 100, y), batch_size=4, shuffle=True)

    active = opened(tmp_path, Augmented())
    indices = torch.tensor([40, 3, 17])
    active.pool_pass(indices, 1)
    x = torch.cat([x for x, _ in active.predict_dataloader()])
    assert torch.equal(x, make_data()[0][indices])
    x = torch.cat([x for x, _ in active.train_dataloader()])
    assert bool((x > 50).all())


def test_pool_predict_takes_the_predict_set(tmp_path):
    class Predicts(Data):
        pool_dataset = None

        def predict_dataloader(self):
            x, y = make_data()
            return DataLoader(TensorDataset(x, y), batch_size=50)

    active = opened(tmp_path, Predicts(), pool_source="predict")
    assert active.pool_set is not active.train_set
    assert active.datamodule.calls == ["prepare", "setup fit", "setup validate", "setup predict"]


def test_labels_are_the_told_ones_in_the_type_they_had(tmp_path):
    [(_, y)] = opened(tmp_path, Data(batch_size=9)).train_dataloader()
    assert y.tolist() == [2] * 5
    assert y.dtype == torch.int64


def test_order_follows_from_seed_and_epoch(tmp_path):
    def order(seed, epoch):
        active = opened(tmp_path, labelled=range(20), seed=seed)
        loader = active.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [tuple(row.tolist()) for x, _ in loader for row in x]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert sorted(order(0, 1)) == sorted(order(0, 2))


def test_unshuffled_stays_unshuffled(tmp_path):
    active = opened(tmp_path, Data(shuffle=False), labelled=(9, 2, 5))
    x = torch.cat([x for x, _ in active.train_dataloader()])
    assert torch.equal(x, make_data()[0][[9, 2, 5]])


def test_a_distributed_sampler_of_the_users_is_understood(tmp_path):
    class Own(Data):
        def train_dataloader(self):
            sampler = DistributedSampler(self.train, num_replicas=1, rank=0, shuffle=False)
            return DataLoader(self.train, batch_size=4, sampler=sampler)

    x = torch.cat([x for x, _ in opened(tmp_path, Own(), labelled=(9, 2, 5)).train_dataloader()])
    assert torch.equal(x, make_data()[0][[9, 2, 5]])


@pytest.mark.parametrize(
    ("count", "batch_size", "batch_norm", "sizes"),
    [
        (5, 4, True, [4]),
        (5, 4, False, [4, 1]),
        (6, 4, True, [4, 2]),
        (4, 4, True, [4]),
        (3, 1, True, [1, 1, 1]),
    ],
)
def test_a_last_batch_of_one_with_batch_norm_is_dropped(tmp_path, count, batch_size, batch_norm, sizes):
    active = opened(tmp_path, Data(batch_size=batch_size), Net(batch_norm=batch_norm), labelled=range(count))
    if batch_norm and sizes == [4] and count == 5:
        with pytest.warns(UserWarning, match="5 labelled samples in batches of 4 leave a last batch of one"):
            loader = active.train_dataloader()
    else:
        loader = active.train_dataloader()
    assert [len(x) for x, _ in loader] == sizes


def test_batch_norm_warns_once_in_a_campaign(tmp_path, recwarn):
    loop = ActiveLearningLoop(
        Net(batch_norm=True), Data(), initial=5, query_size=4, rounds=3, dirpath=tmp_path / "c"
    )  # fmt: skip
    loop.run(make_trainer(tmp_path))
    assert len([w for w in recwarn if "last batch of one" in str(w.message)]) == 1


def test_user_hooks_run_once_per_stage_and_are_torn_down_at_the_end(tmp_path):
    data = Data()
    loop = ActiveLearningLoop(Net(), data, initial=5, query_size=4, rounds=2, dirpath=tmp_path / "c", evaluate="test")
    loop.run(make_trainer(tmp_path))
    assert data.calls[0] == "prepare"
    assert data.calls[1:] == ["setup fit", "setup test", "teardown fit", "teardown test"]


def test_everything_else_is_the_users(tmp_path):
    class Rich(Data):
        classes = ("a", "b")

        def on_after_batch_transfer(self, batch, dataloader_idx):
            x, y = batch
            return x * 2, y

        def state_dict(self):
            return {"k": 1}

        def load_state_dict(self, state):
            self.loaded = state

    data = Rich()
    found = ForTrainer(ActiveDataModule(data, task=ClassificationTask()))
    assert found.classes == ("a", "b")
    assert found.state_dict() == {"k": 1}
    found.load_state_dict({"k": 2})
    assert data.loaded == {"k": 2}
    assert found.on_after_batch_transfer == data.on_after_batch_transfer
    with pytest.raises(AttributeError, match="nothing_like_it"):
        found.nothing_like_it

    seen = []

    class Sees(Net):
        def training_step(self, batch, batch_idx):
            seen.append(float(batch[0].abs().max()))
            assert self.trainer.datamodule.classes == ("a", "b")
            return super().training_step(batch, batch_idx)

    loop = ActiveLearningLoop(Sees(), data, initial=60 - 4, query_size=4, rounds=0, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path))
    assert max(seen) > 1.5 * float(make_data()[0].abs().max())


def test_a_datamodule_without_a_test_loader_does_not_look_as_if_it_had_one():
    class Small(L.LightningDataModule):
        def train_dataloader(self):
            return None

    found = ForTrainer(ActiveDataModule(Small(), task=ClassificationTask()))
    assert not is_overridden("test_dataloader", found)
    assert not is_overridden("on_after_batch_transfer", found)
    assert is_overridden("val_dataloader", ForTrainer(ActiveDataModule(Data(), task=ClassificationTask())))


def test_before_the_campaign_is_opened_there_are_no_loaders():
    active = ActiveDataModule(Data(batch_size=9), task=ClassificationTask())
    assert active.key(3) is None
    with pytest.raises(RuntimeError, match=r"no loaders before the campaign is opened.*`loop.run` first"):
        active.train_dataloader()
