"""
Regions of an image: which squares are asked for
================================================

**In our trials with street scenes Random squares did better than these** (three seeds): this shows what is asked for,
not that it pays.

An image of three classes, a network that has seen another one, and the squares of 3 x 3 pixels that ``RIPU`` takes:
where predicted classes are mixed, and the network is unsure of them.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from lightning_al import functional as F_al

torch.manual_seed(0)


def scene(seed):
    """Stripes and a disc, in noise: an image (1, 3, 40, 60) and its mask (1, 40, 60)."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    mask = ((columns + 2 * rows) // 22 % 2).long()
    mask[(rows - 18) ** 2 + (columns - 38) ** 2 < 110] = 2
    image = nn.functional.one_hot(mask, 3).movedim(2, 0) + 0.9 * torch.randn(
        3, 40, 60, generator=draw
    )
    return image[None], mask[None]


image, mask = scene(1)
net = nn.Sequential(
    nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1)
)
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for _ in range(40):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(image), mask).backward()
    optimizer.step()

# %%
# The map of scores, and twelve squares that never overlap.

new, truth = scene(2)
with torch.no_grad():
    logits = net(new)
scores = F_al.ripu_map(logits, 1)[0]
centres = F_al.pick_squares(scores, 12, radius=1)
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained")
axes[0].imshow(new[0].movedim(0, 2).clamp(0, 1))
axes[1].imshow(logits.argmax(1)[0], cmap="Set2")
axes[2].imshow(scores, cmap="magma")
for place, name in zip(
    axes, ("the image", "predicted classes", "RIPU's map, and the squares"), strict=True
):
    place.set(title=name, xticks=[], yticks=[])
for centre in centres.tolist():
    row, column = divmod(centre, 60)
    axes[2].add_patch(
        plt.Rectangle((column - 1.5, row - 1.5), 3, 3, fill=False, edgecolor="#7fe3ff")
    )
