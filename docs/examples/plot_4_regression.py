"""
Real values: where a curve is asked for
=======================================

**Nothing is compared here, and the spread is too small**: the curve is wrong by more than the passes with dropout say.
Even so they disagree most where nothing is labelled, and there it asks. Targets are real numbers: ``RegressionTask``,
and ``MCDropout`` by the variance, spread out by k-means++.
"""

import tempfile
from functools import partial

import lightning as L
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, Loaders, RegressionTask
from lightning_al.acquisition import MCDropout
from lightning_al.zoo import Regressor

L.seed_everything(0, verbose=False)
x = torch.linspace(-3, 3, 200)[:, None]
y = torch.sin(2 * x) + 0.3 * x
pool = TensorDataset(x, y)
net = nn.Sequential(
    nn.Linear(1, 64),
    nn.Tanh(),
    nn.Dropout(0.05),
    nn.Linear(64, 64),
    nn.Tanh(),
    nn.Dropout(0.05),
    nn.Linear(64, 1),
)
model = Regressor(net, optimizer=partial(torch.optim.Adam, lr=0.01))
quiet = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
asks = MCDropout(score="variance", selection="kmeans++")
trainer = L.Trainer(max_epochs=250, accelerator="cpu", callbacks=[asks], **quiet)
folder = tempfile.mkdtemp()
loop = ActiveLearningLoop(
    model,
    Loaders(DataLoader(pool, batch_size=16, shuffle=True), pool=pool),
    task=RegressionTask(),
    initial=[70, 80, 90, 100, 110],
    query_size=3,
    rounds=3,
    evaluate=None,
    dirpath=folder,
)

# %%
# A callback with a hook of the rounds keeps what the model thinks after each fit.


class Watch(L.Callback):
    """Keeps the mean and the spread of forty passes with dropout."""

    def __init__(self):
        self.seen = []

    def on_query_start(self, trainer, pl_module, loop):
        pl_module.train()
        with torch.no_grad():
            passes = torch.stack([pl_module(x).squeeze(1) for _ in range(40)])
        pl_module.eval()
        self.seen.append((passes.mean(0), passes.std(0)))


watch = Watch()
trainer.callbacks.append(watch)
history = loop.run(trainer)

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), sharey=True, layout="constrained")
labelled = [70, 80, 90, 100, 110]
for place, result, (mean, spread) in zip(axes, history[:3], watch.seen, strict=True):
    place.plot(x, y, color="#9aa0a8", linewidth=1)
    place.plot(x, mean, color="#5b2bbf")
    place.fill_between(
        x[:, 0],
        mean - 2 * spread,
        mean + 2 * spread,
        color="#5b2bbf",
        alpha=0.18,
        linewidth=0,
    )
    place.scatter(x[labelled], y[labelled], color="#33373d", s=18, zorder=3)
    place.scatter(x[result.picked], y[result.picked], color="#d1495b", s=34, zorder=3)
    place.set(title=f"{result.labelled} labels, and the next three")
    labelled += result.picked
