"""What is checked when a campaign opens, all of it before anything is written."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lightning_al import ActiveLearningLoop, AwaitTell
from lightning_al.acquisition import SAAL
from lightning_al.loop.opening import _new_folder
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer, start
from tests.helpers.recorder import run


def test_all_that_is_wrong_with_the_parts_is_said_at_once(tmp_path):
    class Lazy(Net):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.LazyLinear(3)).double()

    class Pooled(Data):
        def pool_dataset(self):
            return torch.utils.data.TensorDataset(*make_data(59))

        def val_dataloader(self):
            return []

    with pytest.raises(ValueError) as caught:
        start(tmp_path, model=Lazy(), data=Pooled(), acquisition=SAAL(labels="true"), oracle=AwaitTell())
    first, lazy, evaluated, pool, labels = str(caught.value).splitlines()
    assert first == "4 things cannot be as they are:"
    assert "`val_dataloader()` of Pooled gives no batch" in evaluated
    assert "of a lazy layer" in lazy
    assert "has 59 samples and the training set 60" in pool
    assert "the loop's oracle is a AwaitTell" in labels
    assert not (tmp_path / "c").exists()


def test_a_query_that_is_too_large_is_said_with_what_is_wrong_with_the_data(tmp_path):
    class EmptyVal(Data):
        def val_dataloader(self):
            return []

    loop = ActiveLearningLoop(Net(), EmptyVal(), initial=6, query_size=300, dirpath=tmp_path / "c")
    with pytest.raises(ValueError) as caught:
        loop.run(make_trainer(tmp_path, acquisition=SAAL(labels="true")))
    first, evaluated, query = str(caught.value).splitlines()
    assert first == "2 things cannot be as they are:"
    assert "`query_size=300` is larger than the pool: 60 samples less 6 initial ones leave 54" in query
    assert "`val_dataloader()` of EmptyVal gives no batch" in evaluated
    assert not (tmp_path / "c").exists()


def test_default_folder_is_new_each_time(tmp_path):
    first, _, _ = run(tmp_path, rounds=0, dirpath=None)
    second, _, _ = run(tmp_path, rounds=0, dirpath=None)
    assert first.dirpath == tmp_path / "al" / "version_0"
    assert second.dirpath == tmp_path / "al" / "version_1"


def test_campaigns_that_begin_at_the_same_moment_have_folders_of_their_own(tmp_path):
    trainer = make_trainer(tmp_path)
    with ThreadPoolExecutor(8) as together:
        folders = list(together.map(lambda _: _new_folder(trainer), range(8)))
    assert {folder.name for folder in folders} == {f"version_{number}" for number in range(8)}


class Scaled(Net):
    """Divides by the largest value that it saw first."""

    def __init__(self):
        super().__init__()
        self.register_buffer("most", torch.zeros((), dtype=torch.float64))
        self.calls = []

    def on_first_inputs(self, inputs, forward):
        self.calls.append(len(inputs))
        self.most = inputs.abs().max()
        assert forward(self, inputs).shape == (len(inputs), 3)
        assert not self.training

    def forward(self, x):
        assert self.most > 0
        return super().forward(x / self.most)


def test_a_model_sees_inputs_before_its_weights_are_kept(tmp_path):
    model = Scaled()
    loop = loop_in(tmp_path, model)
    history = loop.run(make_trainer(tmp_path))
    assert sum(model.calls) == 2
    initial = torch.load(loop.dirpath / "initial.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(initial["most"], model.most)
    assert len(history) == 3
    again = Scaled()
    assert loop_in(tmp_path, again).run(make_trainer(tmp_path), resume=True) == history
    assert not again.calls


def test_an_initial_set_that_a_kill_kept_from_being_asked_is_handed_out(tmp_path):
    def asking(name):
        return loop_in(tmp_path / name, oracle=AwaitTell())

    expected = asking("whole").ask(make_trainer(tmp_path))
    asking("killed").ask(make_trainer(tmp_path))
    (tmp_path / "killed" / "c" / "ledger" / "000001-asked.json").unlink()
    loop = asking("killed")
    assert loop.ask(make_trainer(tmp_path)) == expected
    with pytest.raises(RuntimeError, match=r"Nothing is labelled yet.*`loop\.pool\.pending`"):
        loop.ask(make_trainer(tmp_path))


class Drawn(Data):
    """Targets move at random with the augmentation."""

    def setup(self, stage):
        super().setup(stage)
        self.plain, self.train = self.train, Moving(self.train)

    def pool_dataset(self):
        return self.plain


class Moving(torch.utils.data.Dataset):
    def __init__(self, plain):
        self.plain = plain

    def __len__(self):
        return len(self.plain)

    def __getitem__(self, index):
        x, y = self.plain[index]
        return x, (y + 1 + torch.randint(2, ())) % 3


class DrawnAlone(Drawn):
    pool_dataset = None


def test_a_pool_dataset_that_comes_later_is_named_where_targets_were_random(tmp_path):
    with pytest.warns(UserWarning, match="DrawnAlone has no `pool_dataset.* the ledger keeps are those of one random"):
        loop_in(tmp_path, data=DrawnAlone(), rounds=0).run(make_trainer(tmp_path, max_epochs=1))
    before = sorted((tmp_path / "c" / "ledger").iterdir())
    with pytest.raises(ValueError, match=r"had label .* targets were random .*`pool_dataset\(\)`.*another `dirpath`"):
        loop_in(tmp_path, data=Drawn(), rounds=1).run(make_trainer(tmp_path, max_epochs=1), resume=True)
    assert sorted((tmp_path / "c" / "ledger").iterdir()) == before
    again = loop_in(tmp_path, data=DrawnAlone(), rounds=1)
    assert len(again.run(make_trainer(tmp_path, max_epochs=1), resume=True)) == 2
