"""
What a campaign picks, round by round
=====================================

**Random does well here too**: one seed and 50 labels show what picks look like, and not which method is better.

scikit-learn's digits with rare classes: 118 zeros in the pool, 10 nines. A small network, Entropy, and four questions
of eight images each.
"""

import tempfile
from functools import partial

import lightning as L
import matplotlib.pyplot as plt
import torch

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Entropy
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
    max_epochs=15,
    accelerator="cpu",
    callbacks=[Entropy()],
    limit_val_batches=0,
    **quiet,
)
folder = tempfile.mkdtemp()
loop = ActiveLearningLoop(
    model,
    data,
    initial=20,
    initial_by="balanced",
    query_size=8,
    rounds=4,
    evaluate="test",
    dirpath=folder,
)
history = loop.run(trainer)
for result in history:
    print(
        result.round,
        result.labelled,
        {name: round(value, 3) for name, value in result.metrics.items()},
    )

# %%
# A row for each question, the highest score first; above each image its class and its score.

pool = data.pool_dataset()
figure, grid = plt.subplots(4, 8, figsize=(8, 4.8), layout="constrained")
for row, result in zip(grid, history[:4], strict=True):
    for axis, index, score in zip(row, result.picked, result.scores, strict=True):
        image, target = pool[index]
        axis.imshow(image[0], cmap="gray_r")
        axis.set_title(f"{int(target)}: {score:.2f}", fontsize=9)
        axis.axis("off")
