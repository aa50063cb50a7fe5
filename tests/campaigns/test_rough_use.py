"""What goes wrong in real campaigns: bad answers, labels at odd times, splits and checkpoints of the user's own."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset

from lightning_al import SKIP
from lightning_al.acquisition import Acquisition
from tests.helpers.oracles import Answering
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer, picks

# ------------------------------------------------------------------------------------------------------------- answers


def test_an_initial_set_that_is_declined_is_replaced(tmp_path):
    y = make_data()[1].tolist()
    first = loop_in(tmp_path / "a", rounds=0)
    first.run(make_trainer(tmp_path))
    declined = set(first.pool.labelled.tolist())
    loop = loop_in(tmp_path, oracle=Answering(lambda i: SKIP if i in declined else y[i]))
    history = loop.run(make_trainer(tmp_path))
    assert [r.labelled for r in history] == [8, 12, 16]
    assert set(loop.pool.skipped.tolist()) == declined


# ------------------------------------------------------------------------------------------------------ ask and limits


# -------------------------------------------------------------------------------------------- what a fit starts from


# -------------------------------------------------------------------------------------------------- the user's own


def test_a_predict_setup_that_needs_other_files_is_left_alone(tmp_path):
    class Predicts(Data):
        def setup(self, stage):
            if stage == "predict":
                raise FileNotFoundError("unlabelled.zip")
            super().setup(stage)

    assert len(loop_in(tmp_path, data=Predicts()).run(make_trainer(tmp_path))) == 3


def test_checkpoints_of_configure_callbacks(tmp_path):
    class Configures(Net):
        def configure_callbacks(self):
            return [ModelCheckpoint(monitor="val_acc", dirpath=tmp_path / "mine")]

    trainer = make_trainer(tmp_path, enable_checkpointing=True)
    loop_in(tmp_path, model=Configures(), weights="best", rounds=1).run(trainer)


# --------------------------------------------------------------------------------------------- other data, other uses


def test_a_pool_in_another_order_is_refused_and_masked_labels_are_not(tmp_path):
    class Flipped(Data):
        def pool_dataset(self):
            x, y = self.train.tensors
            return TensorDataset(x.flip(0), y.flip(0))

    class Masked(Data):
        def pool_dataset(self):
            x, y = self.train.tensors
            return TensorDataset(x, torch.zeros_like(y))

    with pytest.raises(ValueError, match=r"`pool_dataset\(\)`: sample .* in another order"):
        loop_in(tmp_path, data=Flipped()).run(make_trainer(tmp_path))
    assert picks(loop_in(tmp_path / "a", data=Masked()).run(make_trainer(tmp_path))) == picks(
        loop_in(tmp_path / "b").run(make_trainer(tmp_path))
    )


def test_an_acquisition_that_forgets_to_call_its_base(tmp_path):
    class Own(Acquisition):
        def __init__(self):
            pass

        def score_batch(self, model, batch):
            return batch[0].sum(1)

    assert len(loop_in(tmp_path).run(make_trainer(tmp_path, acquisition=Own()))) == 3


# ----------------------------------------------------------------------------------------------------------- reports


@pytest.mark.slow
def test_a_stochastic_pass_is_seeded_by_the_round(tmp_path):
    """A pool that is augmented at random, for want of a `pool_dataset()`, still gives the same picks after a kill."""

    class Noisy(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + torch.randn(4, dtype=x.dtype), y

    class Augmented(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train = Noisy(*make_data(self.n))

        def pool_dataset(self):
            return self.train

    whole = loop_in(tmp_path / "a", data=Augmented(), rounds=3).run(make_trainer(tmp_path))
    loop_in(tmp_path / "b", data=Augmented(), rounds=1).run(make_trainer(tmp_path))
    torch.manual_seed(5)
    rest = loop_in(tmp_path / "b", data=Augmented(), rounds=3).run(make_trainer(tmp_path), resume=True)
    assert picks(rest) == picks(whole)
