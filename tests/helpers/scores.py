"""Scores of every kind that run a model, called alike: what scoring must not change is tested with each."""

from lightning_al import functional as F_al
from lightning_al.inference.outputs import plain_outputs

SCORES = {
    "saal": F_al.saal,
    "saal, groups": lambda m, x, **o: F_al.saal(m, x, perturbation="asam", group_size=2, **o),
    "entropy": F_al.gradient_norm,
    "expected_norm": lambda m, x, **o: F_al.gradient_norm(m, x, loss="expected_norm", **o),
    "outputs": lambda m, x, forward=None, max_bytes=None: plain_outputs(m, x, forward),
}
