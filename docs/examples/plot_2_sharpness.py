"""
What SAAL sees that Entropy does not
====================================

**The two are alike**: both rise along the boundaries between classes. SAAL's score also asks how sharp the loss is
there: it is the loss after the weights were moved as far against the sample as a ball of radius ρ allows.

Three classes in a plane, and a network that has seen twelve points.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from lightning_al import functional as F_al

torch.manual_seed(0)
centres = torch.tensor([[0.0, 1.6], [-1.4, -0.8], [1.4, -0.8]])
labels = torch.arange(12) % 3
points = centres[labels] + 0.6 * torch.randn(12, 2)
model = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(points), labels).backward()
    optimizer.step()

# %%
# The scores of a grid of 4,900 samples, each exact, with a perturbation of its own.

axis = torch.linspace(-4, 4, 70)
grid = torch.cartesian_prod(axis, axis)
with torch.no_grad():
    entropy = F_al.entropy(model(grid))
scores = {
    "Entropy": entropy,
    "SAAL, ρ = 0.05": F_al.saal(model, grid, rho=0.05),
    "SAAL, ρ = 0.5": F_al.saal(model, grid, rho=0.5),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for place, (name, values) in zip(axes, scores.items(), strict=True):
    place.pcolormesh(
        axis, axis, values.detach().reshape(70, 70).T, cmap="magma", shading="gouraud"
    )
    place.scatter(*points.T, c=labels, cmap="Set2", edgecolor="white", s=36)
    place.set(title=name, xticks=[], yticks=[])

# %%
# How much they agree: the share of the 100 largest that they have in common.

top = {name: set(F_al.top_k(values, 100).tolist()) for name, values in scores.items()}
for name in top:
    print(f"{name}: {len(top['Entropy'] & top[name])} of Entropy's 100")
