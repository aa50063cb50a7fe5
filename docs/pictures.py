"""Draws the moving picture of the README: `make pictures` (a minute on one core).

Two campaigns of the quickstart, by Random and by SAAL as in `make demo`, from the same labels and weights, in a pool of
digits with rare classes. Each frame is a round: the pool on a map (t-SNE of the pixels), what is labelled, and what was
just picked.
"""

import io
import tempfile
from functools import partial
from pathlib import Path

import lightning as L
import matplotlib
import numpy as np
import torch
from PIL import Image
from sklearn.manifold import TSNE

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import SAAL, Random
from lightning_al.zoo import Classifier, DigitsDataModule, PlainCNN

matplotlib.use("agg")
import matplotlib.pyplot as plt

COLOURS = plt.get_cmap("tab10").colors
INK, PALE = "#33373d", "#d5d8dd"


def campaign(acquisition, folder):
    """Return the history of a campaign, and its pool's images and classes."""
    L.seed_everything(0, verbose=False)
    net = PlainCNN(num_classes=10, in_channels=1, size=8)
    model = Classifier(net, num_classes=10, optimizer=partial(torch.optim.Adam, lr=0.005))
    data = DigitsDataModule(batch_size=20, imbalance=12)
    trainer = L.Trainer(
        max_epochs=30,
        accelerator="cpu",
        callbacks=[acquisition],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    loop = ActiveLearningLoop(
        model, data, initial=20, initial_by="balanced", query_size=10, rounds=8, evaluate="test", dirpath=folder
    )
    history = loop.run(trainer)
    pool = data.pool_dataset()
    images = np.stack([np.asarray(pool[i][0]).ravel() for i in range(len(pool))])
    classes = np.array([int(pool[i][1]) for i in range(len(pool))])
    picked = {i for result in history for i in result.picked}
    return history, images, classes, sorted(set(loop.pool.labelled.tolist()) - picked)


def draw(axes, bars, name, points, classes, before, new, accuracy):
    """Draw one method after one round."""
    axes.scatter(*points.T, s=9, color=PALE, linewidth=0)
    axes.scatter(*points[before].T, s=20, color=[COLOURS[c] for c in classes[before]], linewidth=0)
    if len(new):
        colours = [COLOURS[c] for c in classes[new]]
        axes.scatter(*points[new].T, s=46, color=colours, edgecolor=INK, linewidth=1.4)
    axes.set_title(f"{name}: {len(before)} labels, accuracy {accuracy:.2f}", color=INK, fontsize=11)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    counts = np.bincount(classes[before], minlength=10)
    bars.bar(range(10), counts, color=COLOURS)
    bars.set(ylim=(0, 24), yticks=[], xticks=range(10))
    bars.tick_params(length=0, labelsize=9, labelcolor=INK)
    bars.spines[["top", "right", "left"]].set_visible(False)
    bars.text(9.4, 17, "labels of each class; 9 is the rarest", fontsize=8.5, color=INK, ha="right")


def frames():
    """Yield a picture for each round."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "Random": campaign(Random(), Path(folder) / "random"),
            "SAAL": campaign(SAAL(perturbation="asam", selection="top"), Path(folder) / "saal"),
        }
    _, images, classes, initial = next(iter(runs.values()))
    points = TSNE(random_state=0, init="pca", perplexity=30).fit_transform(images)
    for number in range(9):
        figure, grid = plt.subplots(
            2, 2, figsize=(7.6, 4.3), dpi=100, gridspec_kw={"height_ratios": [4.4, 1]}, layout="constrained"
        )
        for column, (name, (history, _, _, _)) in enumerate(runs.items()):
            before = initial + [i for result in history[:number] for i in result.picked]
            new = history[number].picked
            metrics = history[number].metrics["test_acc"]
            draw(*grid[:, column], name, points, classes, before, new, metrics)
        buffer = io.BytesIO()
        figure.savefig(buffer)
        plt.close(figure)
        yield Image.open(buffer).convert("RGB")


def main():
    """Write `picks.gif` beside this file."""
    pictures = list(frames())
    palette = pictures[-2].quantize(48, dither=Image.Dither.NONE)
    colours = np.array(palette.getpalette()[:144]).reshape(-1, 3)
    colours[colours.sum(1).argmax()] = 255  # a page's white
    palette.putpalette(colours.ravel().tolist())
    shown = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures]
    durations = [1100] * (len(shown) - 1) + [3500]
    path = Path(__file__).parent / "picks.gif"
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=durations, loop=0, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
