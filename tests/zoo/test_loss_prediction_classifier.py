import lightning.pytorch as pl
import pytest
import torch

from lightning_al.zoo import DigitsDataModule, LossPredictionClassifier, SmallCNN

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.mark.slow
def test_learns_digits_and_which_of_them_are_hard():
    pytest.importorskip("sklearn")
    pl.seed_everything(0)
    model = LossPredictionClassifier(net=SmallCNN(width=8), num_classes=10)
    data, trainer = DigitsDataModule(batch_size=50), pl.Trainer(max_epochs=4, **QUIET)
    trainer.fit(model, data)
    [after] = trainer.test(model, data, verbose=False)
    assert after["test_acc"] > 0.8
    assert model.loss_prediction.layers == ["net.features.2", "net.features.6", "net.features.10"]
    x, y = (torch.cat(part) for part in zip(*data.test_dataloader()))
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(model.eval()(x), y, reduction="none")
    hard, easy = losses.argsort(descending=True)[:50], losses.argsort()[:50]
    predicted = model.predict_losses(x)
    assert (predicted[hard][:, None] > predicted[easy]).float().mean() > 0.75
