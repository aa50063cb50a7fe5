import copy
import pickle

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import Classifier, DataClassifier, DigitsDataModule, SmallCNN

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


def test_trains_on_digits():
    pytest.importorskip("sklearn")
    pl.seed_everything(0)
    model, data = Classifier(SmallCNN(width=8), num_classes=10), DigitsDataModule(batch_size=50)
    trainer = pl.Trainer(max_epochs=3, **QUIET)
    [before] = trainer.test(model, data, verbose=False)
    trainer.fit(model, data)
    assert {"train_acc", "val_acc", "val_loss"} <= set(trainer.callback_metrics)
    [after] = trainer.test(model, data, verbose=False)
    assert set(after) == {"test_acc", "test_loss"}
    assert after["test_loss"] < before["test_loss"] / 2
    assert after["test_acc"] > 0.8


def test_logged_values_are_over_all_samples_not_over_batches():
    pl.seed_everything(0)
    x, y = torch.randn(7, 4), torch.randint(3, (7,))
    model = Classifier(nn.Linear(4, 3), num_classes=3)
    [metrics] = pl.Trainer(**QUIET).test(model, DataLoader(TensorDataset(x, y), 5), verbose=False)
    with torch.no_grad():
        logits = model(x)
    assert metrics["test_loss"] == pytest.approx(nn.functional.cross_entropy(logits, y).item(), abs=1e-6)
    assert metrics["test_acc"] == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_the_training_accuracy_is_over_each_epoch_and_logged_once_in_it():
    pl.seed_everything(0)
    x, y = torch.randn(20, 4), torch.randint(3, (20,))

    class Watched(Classifier):
        logged, right, known = 0, [], []

        def training_step(self, batch, batch_idx):
            if batch_idx == 0:
                self.right.append(0)
            with torch.no_grad():
                self.right[-1] += int((self(batch[0]).argmax(1) == batch[1]).sum())
            return super().training_step(batch, batch_idx)

        def log(self, *args, **options):
            self.logged += 1
            super().log(*args, **options)

    class Epochs(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.known.append(float(trainer.callback_metrics["train_acc"]))

    model = Watched(nn.Linear(4, 3), num_classes=3, optimizer=sgd)
    trainer = pl.Trainer(max_epochs=3, callbacks=[Epochs()], **QUIET)
    trainer.fit(model, DataLoader(TensorDataset(x, y), 5, shuffle=True))
    assert model.known == pytest.approx([right / 20 for right in model.right])
    assert len(set(model.right)) > 1
    assert model.logged == 3


def class_accuracies(model, x, y, classes):
    """By a plain loop; classes without samples have none."""
    with torch.no_grad():
        right = model.eval()(x).argmax(1) == y
    return {c: float(right[y == c].double().mean()) for c in range(classes) if (y == c).any()}


@pytest.mark.parametrize("split", ["val", "test"])
def test_accuracies_of_each_class(split):
    pl.seed_everything(0)
    x, y = torch.randn(23, 4), torch.tensor([0, 1, 1, 3] * 5 + [3] * 3)  # none of class 2
    model = Classifier(nn.Linear(4, 4), num_classes=4, class_accuracies=True)
    trainer = pl.Trainer(**QUIET)
    evaluate = trainer.validate if split == "val" else trainer.test
    for _ in range(2):  # counted anew each time
        [metrics] = evaluate(model, DataLoader(TensorDataset(x, y), 5), verbose=False)
        expected = {f"{split}_acc_class_{c}": value for c, value in class_accuracies(model, x, y, 4).items()}
        assert len(expected) == 3
        assert metrics == pytest.approx(
            {**expected, f"{split}_acc": metrics[f"{split}_acc"], f"{split}_loss": metrics[f"{split}_loss"]}
        )
        with torch.no_grad():
            model.net.weight.neg_()


def test_accuracies_of_classes_of_the_data():
    model = DataClassifier(lambda count: nn.Linear(4, count), num_classes=3, class_accuracies=True)
    x, y = torch.randn(9, 4), torch.arange(9) % 3
    [metrics] = pl.Trainer(**QUIET).test(model, DataLoader(TensorDataset(x, y), 5), verbose=False)
    assert {name for name in metrics if "class" in name} == {f"test_acc_class_{c}" for c in range(3)}
    with pytest.raises(TypeError, match="`class_accuracies` must be True or False, got 3"):
        Classifier(nn.Linear(4, 3), 3, class_accuracies=3)


def test_forward_returns_the_logits_of_the_net():
    net = nn.Linear(4, 3)
    x = torch.randn(2, 4)
    assert torch.equal(Classifier(net, 3)(x), net(x))


def test_a_new_optimizer_at_every_call():
    model = Classifier(nn.Linear(4, 3), 3)
    one, two = model.configure_optimizers(), model.configure_optimizers()
    assert isinstance(one, torch.optim.Adam)
    assert one.defaults["lr"] == 1e-3
    assert one is not two


def test_a_deep_copy_trains_its_own_weights():
    model = copy.deepcopy(Classifier(nn.Linear(4, 3), 3))
    optimised = {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters()}


def test_schedules():
    model = Classifier(nn.Linear(4, 3), 3, sgd, lambda o: torch.optim.lr_scheduler.StepLR(o, 5))
    made = model.configure_optimizers()
    assert made["lr_scheduler"]["scheduler"].optimizer is made["optimizer"]
    assert made["lr_scheduler"]["interval"] == "epoch"
    model = Classifier(nn.Linear(4, 3), 3, sgd, lambda o: ReduceLROnPlateau(o, monitor="val_loss"))
    assert model.configure_optimizers()["lr_scheduler"]["monitor"] == "val_loss"


def test_pickles_for_spawned_processes():
    model = Classifier(nn.Linear(4, 3), 3, optimizer=sgd)
    assert torch.equal(pickle.loads(pickle.dumps(model)).net.weight, model.net.weight)
