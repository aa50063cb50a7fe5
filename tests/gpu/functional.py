"""Every function of `lightning_al.functional` gives on the device what it gives on the CPU."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al import functional as F_al
from lightning_al.zoo import SmallUNet
from tests.gpu.models import CLASSES, NETS, images, settled
from tests.gpu.record import Check, Where

N, D, T = 40, 6, 5


class Made:
    """Makes the same tensors on whatever device, and there in whatever precision."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def randn(self, *shape: int, seed: int = 0) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=draws, dtype=torch.float64).to(self.device, self.dtype)

    def classes(self, *shape: int) -> Tensor:
        return torch.randint(CLASSES, shape, generator=torch.Generator().manual_seed(9)).to(self.device)

    @property
    def draws(self) -> torch.Generator:
        return torch.Generator().manual_seed(4)

    @property
    def log_p(self) -> Tensor:
        return self.randn(N, T, CLASSES).log_softmax(2)

    def net(self, name: str = "CNN") -> nn.Module:
        return self.moved(NETS[name]())

    def moved(self, net: nn.Module) -> nn.Module:
        return copy.deepcopy(settled(net)).to(self.device, self.dtype)

    def images(self, n: int = 6) -> Tensor:
        return images(n)[0].to(self.device, self.dtype)

    @property
    def dense(self) -> tuple[nn.Module, Tensor]:
        return self.moved(SmallUNet(num_classes=3, width=8)), self.randn(2, 3, 16, 16)

    @property
    def areas(self) -> Tensor:
        return (torch.arange(16).view(1, -1) // 4 + 4 * (torch.arange(16).view(-1, 1) // 4)).to(self.device)


def both_looks(m: Made) -> list[Any]:
    """The gradient engine on each net, by each of its ways."""
    ways: list[Any] = []
    for name in NETS:
        net, x = m.net(name), m.images()
        ways += [F_al.saal(net, x), F_al.saal(net, x, perturbation="asam", group_size=2), F_al.saal(net, x, p=3.0)]
    return ways


def norms(m: Made) -> list[Any]:
    kinds = ("entropy", "pseudo_label", "expected_norm")
    return [F_al.gradient_norm(m.net(name), m.images(), loss=loss) for name in NETS for loss in kinds]


CASES: dict[str, Callable[[Made], Any]] = {
    "adversarial_loss": lambda m: F_al.adversarial_loss(m.randn(N), m.randn(N, seed=1)),
    "asked_pixels": lambda m: F_al.asked_pixels(torch.tensor([20, 70], device=m.device), (16, 16), 1),
    "asked_superpixels": lambda m: F_al.asked_superpixels(torch.tensor([1, 5], device=m.device), m.areas),
    "badge": lambda m: F_al.badge(m.randn(N, CLASSES), m.randn(N, D, seed=1), 7, generator=m.draws),
    "bald": lambda m: F_al.bald(m.log_p),
    "batch_bald": lambda m: F_al.batch_bald(m.log_p, 4, generator=m.draws),
    "blocked_centres": lambda m: F_al.blocked_centres(m.randn(16, 16) > 2, 2),
    "cluster_labels": lambda m: F_al.cluster_labels(m.randn(N, D), 3),
    "consensus_kl": lambda m: F_al.consensus_kl(m.log_p),
    "core_gcn": lambda m: F_al.core_gcn(m.randn(N, D), 5, labelled=m.randn(9, D, seed=1), generator=m.draws, steps=3),
    "coverage_delta": lambda m: F_al.coverage_delta(m.randn(N, D), m.classes(N)),
    "cross_entropy": lambda m: F_al.cross_entropy(m.randn(N, CLASSES), m.classes(N)),
    "discriminator_loss": lambda m: F_al.discriminator_loss(m.randn(N), m.randn(N, seed=1)),
    "entropy": lambda m: F_al.entropy(m.randn(N, CLASSES)),
    "gcn_loss": lambda m: F_al.gcn_loss(m.randn(N).sigmoid(), m.randn(N, seed=1).sigmoid()),
    "gradient_norm": norms,
    "graph_adjacency": lambda m: F_al.graph_adjacency(m.randn(N, D)),
    "k_center_greedy": lambda m: F_al.k_center_greedy(m.randn(N, D), 7, labelled=m.randn(5, D, seed=1)),
    "kmeans_plusplus": lambda m: F_al.kmeans_plusplus(m.randn(N, D), 7, generator=m.draws),
    "least_confidence": lambda m: F_al.least_confidence(m.randn(N, CLASSES)),
    "log_probabilities": lambda m: F_al.log_probabilities(m.randn(N, CLASSES)),
    "loss_prediction_loss": lambda m: F_al.loss_prediction_loss(m.randn(N), m.randn(N, seed=1).abs()),
    "margin": lambda m: F_al.margin(m.randn(N, CLASSES)),
    "mc_dropout": lambda m: [F_al.mc_dropout(m.net(n), m.images(), passes=4, add_dropout=0.3) for n in NETS],
    "mean_entropy": lambda m: F_al.mean_entropy(m.log_p),
    "model_change": lambda m: F_al.model_change(m.randn(N, T, 1), m.randn(N, 1, seed=1), m.randn(N, D, seed=2)),
    "nt_xent_loss": lambda m: F_al.nt_xent_loss(m.randn(N, D), m.randn(N, D, seed=1)),
    "perturbed_outputs": lambda m: F_al.perturbed_outputs(m.net(), m.images()),
    "perturbed_pixel_losses": lambda m: F_al.perturbed_pixel_losses(*m.dense),
    "pick_squares": lambda m: F_al.pick_squares(m.randn(16, 16), 5, radius=1),
    "pick_superpixels": lambda m: F_al.pick_superpixels(m.randn(16, 16), m.areas, 5),
    "prediction_variance": lambda m: F_al.prediction_variance(m.randn(N, T, 1)),
    "prob_cover": lambda m: F_al.prob_cover(m.randn(N, D), 7, delta=0.7, labelled=m.randn(5, D, seed=1)),
    "region_impurity": lambda m: F_al.region_impurity(m.randn(2, 3, 16, 16), 1),
    "ripu_map": lambda m: F_al.ripu_map(m.randn(2, 3, 16, 16), 1),
    "saal": both_looks,
    "sharpness_bound": lambda m: list(F_al.sharpness_bound(m.net(), m.images(3), tolerance=1e-9, steps=200)),
    "state_uncertainty": lambda m: F_al.state_uncertainty(m.randn(N, CLASSES).softmax(1)),
    "superpixel_impurity": lambda m: F_al.superpixel_impurity(m.randn(1, 3, 16, 16), m.areas[None]),
    "superpixel_mean": lambda m: F_al.superpixel_mean(m.randn(1, 16, 16), m.areas[None]),
    "top_k": lambda m: F_al.top_k(m.randn(N), 7),
    "train_gcn": lambda m: list(F_al.train_gcn(m.randn(N, D), m.randn(9, D, seed=1), generator=m.draws, steps=3)),
    "typiclust": lambda m: F_al.typiclust(m.randn(N, D), 5, generator=m.draws, labelled=m.randn(5, D, seed=1)),
    "uncertain_gcn": lambda m: F_al.uncertain_gcn(
        m.randn(N, D), labelled=m.randn(9, D, seed=1), generator=m.draws, steps=3
    ),
    "vae_loss": lambda m: F_al.vae_loss(m.randn(N, D), m.randn(N, D, seed=1), m.randn(N, 3), m.randn(N, 3, seed=2)),
    "variation_ratio": lambda m: F_al.variation_ratio(m.log_p),
    "vote_entropy": lambda m: F_al.vote_entropy(m.log_p),
    "window_mean": lambda m: F_al.window_mean(m.randn(2, 16, 16), 2),
    "worst_case_perturbation": lambda m: F_al.worst_case_perturbation(
        [m.randn(4, 5), m.randn(6)], [m.randn(4, 5, seed=1), m.randn(6, seed=2)], perturbation="asam"
    ),
}

WITHOUT = {"SharpnessBound"}
"""What is no function."""

TOLERANCES = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-4)}


def checks(where: Where) -> Iterator[Check]:
    """Each function, in both precisions."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in CASES:
        for precision in TOLERANCES:
            yield Check(f"{name}, {precision}", lambda name=name, p=precision: _compared(where, name, p))


def _compared(where: Where, name: str, precision: str) -> dict[str, Any]:
    """In float32, numbers are those of float64 on the CPU up to rounding; integers are compared in float64 alone."""
    dtype, tolerance = TOLERANCES[precision]
    want = _leaves(CASES[name](Made(torch.device("cpu"), torch.float64)))
    got = _leaves(CASES[name](Made(where.device, dtype)))
    error, same, elsewhere = 0.0, True, 0
    for a, b in zip(want, got, strict=True):
        elsewhere += b.device.type != where.device.type
        a, b = a.detach(), b.detach().cpu()
        if a.is_floating_point():
            scale = max(float(a.abs().max()), 1e-30) if a.numel() else 1.0
            error = max(error, float((a - b.double()).abs().max()) / scale if a.numel() else 0.0)
        else:
            same = same and torch.equal(a, b)
    right = error <= tolerance and (same or precision == "float32")
    return {"differs by": error, "the same integers": same, "on the CPU": elsewhere, "right": right}


def _leaves(tree: Any) -> list[Tensor]:
    return [torch.as_tensor(leaf) for leaf in pytree.tree_leaves(tree)]
