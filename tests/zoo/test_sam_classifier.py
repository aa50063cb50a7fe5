import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.training import sam_step
from lightning_al.zoo import Classifier, DigitsDataModule, SAMClassifier, SmallCNN

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def momentum_sgd(params):
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


def test_trains_on_digits_one_step_per_batch():
    pytest.importorskip("sklearn")
    pl.seed_everything(0)
    model = SAMClassifier(net=SmallCNN(width=8), num_classes=10, optimizer=momentum_sgd)
    data, trainer = DigitsDataModule(batch_size=50), pl.Trainer(max_epochs=3, **QUIET)
    [before] = trainer.test(model, data, verbose=False)
    trainer.fit(model, data)
    assert trainer.global_step == 3 * 24
    [after] = trainer.test(model, data, verbose=False)
    assert after["test_loss"] < before["test_loss"] / 2
    assert after["test_acc"] > 0.8


def test_steps_are_those_of_sam_and_the_training_accuracy_is_that_of_the_first_pass():
    torch.manual_seed(0)
    x, y = torch.randn(12, 4), torch.randint(3, (12,))
    net, own = nn.Linear(4, 3), nn.Linear(4, 3)
    own.load_state_dict(net.state_dict())
    model = SAMClassifier(net=net, num_classes=3, optimizer=momentum_sgd, rho=0.5)
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, DataLoader(TensorDataset(x, y), 6))

    sgd, right = momentum_sgd(own.parameters()), 0
    for rows in (slice(0, 6), slice(6, 12)):
        right += int((own(x[rows]).argmax(1) == y[rows]).sum())

        def closure(rows=rows):
            sgd.zero_grad()
            loss = nn.functional.cross_entropy(own(x[rows]), y[rows])
            loss.backward()
            return loss

        sam_step(own.parameters(), sgd, closure, rho=0.5)
    torch.testing.assert_close(net.weight, own.weight)
    assert trainer.callback_metrics["train_acc"] == pytest.approx(right / 12)


@pytest.mark.parametrize(("running_stats", "updates"), [("first", 4), ("both", 8)])
def test_running_statistics(running_stats, updates):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    model = SAMClassifier(net=net, num_classes=3, optimizer=momentum_sgd, running_stats=running_stats)
    data = DataLoader(TensorDataset(torch.randn(12, 4), torch.randint(3, (12,))), 3)
    pl.Trainer(max_epochs=1, **QUIET).fit(model, data)
    assert net[1].num_batches_tracked == updates


def test_is_a_classifier_and_checks_sams_options():
    assert issubclass(SAMClassifier, Classifier)
    with pytest.raises(ValueError, match="rho"):
        SAMClassifier(net=nn.Linear(4, 3), num_classes=3, rho=-1.0)
