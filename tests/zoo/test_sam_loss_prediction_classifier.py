import copy

import lightning.pytorch as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import PlainCNN, SAMClassifier, SAMLossPredictionClassifier


def test_a_step_is_sams_on_the_loss_and_its_prediction_together():
    torch.manual_seed(0)
    x, y = torch.randn(6, 1, 4, 4).double(), torch.randint(3, (6,))
    model = SAMLossPredictionClassifier(
        net=PlainCNN(num_classes=3, size=4, width=2),
        num_classes=3,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        rho=0.5,
        loss_width=4,
        loss_margin=0.3,
    ).double()
    assert model.predict_losses(x).shape == (6,)  # its module is made
    own = copy.deepcopy(model)
    trainer = pl.Trainer(
        **{"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
    )
    trainer.fit(model, DataLoader(TensorDataset(x, y), 6))
    assert trainer.global_step == 1

    def loss():
        maps, out = {}, x
        for name, layer in own.net.features.named_children():
            out = maps[f"net.features.{name}"] = layer(out)
        losses = cross_entropy(own.net.fc(own.net.hidden(out)), y, reduction="none")
        pooled = {name: maps[name].flatten(2).mean(2) for name in own.loss_prediction.layers}
        predicted = own.loss_prediction(pooled)
        pairs = 0.0
        for i in range(3):
            sign = 1.0 if losses[i] > losses[5 - i] else -1.0
            pairs = pairs + (0.3 - sign * (predicted[i] - predicted[5 - i])).clamp(min=0) / 3
        return losses.mean() + pairs

    params = list(own.parameters())
    first = torch.autograd.grad(loss(), params)
    norm = sum(g.square().sum() for g in first).sqrt()
    with torch.no_grad():
        for p, g in zip(params, first, strict=True):
            p += 0.5 * g / norm
    second = torch.autograd.grad(loss(), params)
    with torch.no_grad():
        for p, g, h in zip(params, first, second, strict=True):
            p -= 0.5 * g / norm + 0.1 * h
    for p, q in zip(model.parameters(), params, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-10)
    assert max(float(h.abs().max()) for h in second) > 1e-3


def test_is_sams_classifier():
    assert issubclass(SAMLossPredictionClassifier, SAMClassifier)
