"""
The same pool, by four ways to choose from it
=============================================

**The top of a score is ten times the same place.** 600 samples in a plane, a network that knows six of them, and ten
picks by each way. Which is best depends on what comes next: the top says most about one boundary, CoreSet looks at the
corners, BADGE at both, and ProbCover at where most samples are.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from lightning_al import functional as F_al

torch.manual_seed(1)
centres = torch.tensor([[0.0, 1.7], [-1.5, -0.9], [1.5, -0.9], [3.4, 1.6]])
classes = torch.arange(600) % 4
pool = centres[classes] + 0.55 * torch.randn(600, 2)
known = torch.arange(8)
model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(150):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(pool[known]), classes[known]).backward()
    optimizer.step()

# %%
# All four return positions in the pool. BADGE gets the two factors of the last layer's gradients, and never
# their product.

with torch.no_grad():
    features = model[:2](pool)
    logits = model[2](features)
residuals = logits.softmax(1)
residuals[torch.arange(600), logits.argmax(1)] -= 1
draw = torch.Generator().manual_seed(0)
picks = {
    "Entropy, the top": F_al.top_k(F_al.entropy(logits), 10),
    "CoreSet": F_al.k_center_greedy(pool, 10, labelled=pool[known]),
    "BADGE": F_al.badge(residuals, features, 10, generator=draw),
    "ProbCover": F_al.prob_cover(
        nn.functional.normalize(pool - pool.mean(0)), 10, delta=0.25
    ),
}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
for place, (name, chosen) in zip(axes, picks.items(), strict=True):
    place.scatter(*pool.T, s=5, c="#c9ccd2")
    place.scatter(*pool[known].T, s=22, c="#33373d", marker="x")
    place.scatter(*pool[chosen].T, s=34, c="#d1495b", edgecolor="white", linewidth=0.8)
    place.set(title=name, xticks=[], yticks=[])
