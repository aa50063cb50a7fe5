"""
Asking people, and stopping
===========================

**No method was compared here.** A loop that asks, is told, and ends: the people are played by the data set, with one
label in ten wrong and one sample in twenty skipped.
"""

import tempfile
from functools import partial

import lightning as L
import matplotlib.pyplot as plt
import torch

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import BADGE
from lightning_al.zoo import Classifier, DigitsDataModule, PlainCNN

L.seed_everything(0, verbose=False)
net = PlainCNN(num_classes=10, in_channels=1, size=8)
model = Classifier(net, num_classes=10, optimizer=partial(torch.optim.Adam, lr=0.003))
data = DigitsDataModule(imbalance=12)
quiet = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
trainer = L.Trainer(
    max_epochs=15, accelerator="cpu", callbacks=[BADGE()], limit_val_batches=0, **quiet
)
folder = tempfile.mkdtemp()
loop = ActiveLearningLoop(
    model,
    data,
    initial=30,
    query_size=10,
    budget=60,
    evaluate="test",
    oracle=AwaitTell(),
    dirpath=folder,
)

draw = torch.Generator().manual_seed(0)
while indices := loop.ask(trainer):
    said = []
    for index in indices:
        label = int(data.pool_dataset()[index][1])
        chance = float(torch.rand((), generator=draw))
        said.append(
            SKIP if chance < 0.05 else (label + 1) % 10 if chance < 0.15 else label
        )
    loop.tell(indices, said, annotator="anna")

# %%
# All of it is on disk, and is read back without the model or the data.

campaign = Campaign.load(folder)
print(
    len(campaign.labels),
    "labels,",
    len(campaign.pool.skipped),
    "skipped,",
    len(campaign.rounds),
    "rounds",
)
counts = torch.bincount(
    torch.tensor([int(label) for label in campaign.labels.values()]), minlength=10
)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
left.plot(
    [r.labelled for r in campaign.rounds],
    [r.metrics["test_acc"] for r in campaign.rounds],
    marker="o",
)
left.set(xlabel="labels", ylabel="test accuracy")
right.bar(range(10), counts)
right.set(xlabel="what people said", ylabel="labels", xticks=range(10))
