"""VAAL and SRAAL on feature vectors by their definition: plain loops, from METHODS' formulas, in float64.

Only what is drawn (first weights, orders, noise) comes from the same generators.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.nn import Adversaries


class Adam:
    """Kingma & Ba 2015, Algorithm 1, with torch's constants."""

    def __init__(self, parameters: Sequence[Tensor], lr: float) -> None:
        self.parameters, self.lr, self.t = list(parameters), lr, 0
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    def step(self, loss: Tensor) -> None:
        self.t += 1
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            if g is None:
                continue
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g * g)
            root = (v / (1 - 0.999**self.t)).sqrt() + 1e-8
            p.data -= self.lr * (m / (1 - 0.9**self.t)) / root


def layers(weights: dict[str, Tensor], prefix: str, x: Tensor, places: Sequence[int]) -> Tensor:
    """Linear layers at these places of an ``nn.Sequential``, with a ReLU between any two."""
    for place in places:
        x = x if place == places[0] else x.clamp(min=0)
        x = x @ weights[f"{prefix}.{place}.weight"].T + weights[f"{prefix}.{place}.bias"]
    return x


def batches(indices: Sequence[int], size: int, seed: int) -> Any:
    draws, ahead = generator(seed, "order"), []
    while True:
        while len(ahead) < size:
            ahead += [indices[p] for p in torch.randperm(len(indices), generator=draws).tolist()]
        yield ahead[:size]
        ahead = ahead[size:]


def uncertainty(p: Sequence[float]) -> float:
    """METHODS.md, section 6."""
    n, m = len(p), max(p)
    variance = sum((q - sum(p) / n) ** 2 for q in p) / n
    least = ((1 / n - m) ** 2 + (n - 1) * (1 / n - (1 - m) / (n - 1)) ** 2) / n
    return min(max(1 - m * (least / variance if variance >= 1e-12 else 1.0), 0.0), 1.0)


def scores(
    seed: int,
    x: Tensor,
    y: Tensor,
    labelled: list[int],
    candidates: list[int],
    probabilities: Tensor | None,
    *,
    steps: int,
    seconds: float | None,
    batch_size: int,
    latent: int,
    width: int,
    beta: float,
    adversarial: float,
    reduction: str,
    vae_steps: int,
    lr: float,
    reconstruction: float = 1.0,
    supervision: float = 0.0,
    lr_decay: float = 1.0,
    lr_decays: int = 30,
) -> Tensor:
    """``-log D(mean)`` of the candidates. ``probabilities``, of all samples: SRAAL."""
    everyone = x[labelled + candidates]
    scale = everyone.std(0, correction=0)
    x = (x - everyone.mean(0)) / torch.where(scale < 1e-6, 1.0, scale)
    supervised = probabilities is not None
    uncertainties = [uncertainty(p) for p in probabilities.tolist()] if supervised else []
    torch.manual_seed(derive_seed(seed, "networks"))
    networks = Adversaries(x.shape[1:], latent, width, probabilities.shape[1] if supervised else None).double()
    w = {name: value.detach().clone().requires_grad_() for name, value in networks.state_dict().items()}
    theirs = [name for name in w if name.startswith("discriminator")]
    ours = [name for name in w if name not in theirs and "shift" not in name and "scale" not in name]
    vae, discriminator = Adam([w[n] for n in ours], lr), Adam([w[n] for n in theirs], lr)
    noise = generator(derive_seed(seed, "vae"), "noise")
    half = latent // 2 if supervised else latent

    def code(rows: Tensor) -> tuple[Tensor, Tensor]:
        both = layers(w, "vae.encoder", rows, [0, 2, 4])
        return both[:, :latent], both[:, latent:]

    def state(mean: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-layers(w, "discriminator", mean, [0, 2, 4]).flatten()))

    def representation(part: list[int], known: bool) -> tuple[Tensor, Tensor]:
        mean, log_variance = code(x[part])
        drawn = mean + (log_variance.exp() ** 0.5) * torch.randn(mean.shape, generator=noise, dtype=torch.float64)
        decoded = layers(w, "vae.decoder", drawn[:, :half], [0, 2, 4])
        upto = latent if known and supervised else half
        normal = torch.distributions.Normal(mean[:, :upto], log_variance[:, :upto].exp().sqrt())
        square = ((decoded - x[part]) ** 2).sum()
        divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
        if reduction == "sample":
            loss = reconstruction * square / len(part) + beta * divergence / len(part)
        else:
            shares = {"mean": len(part) * upto, "code": len(part), "batch": 1}
            loss = reconstruction * square / decoded.numel() + beta * divergence / shares[reduction]
        if known and supervised:
            p = (drawn[:, half:] @ w["classifier.weight"].T + w["classifier.bias"]).softmax(1)
            loss = loss - supervision * sum(torch.log(p[i, y[sample]]) for i, sample in enumerate(part)) / len(part)
        return loss, mean

    def pieces(kind: str, indices: list[int]) -> Any:
        size = min(batch_size, len(indices))
        for batch in batches(indices, size * vae_steps, derive_seed(seed, kind)):
            yield [batch[i : i + size] for i in range(0, size * vae_steps, size)]

    for step, known, unknown in zip(
        range(steps), pieces("labelled", labelled), pieces("unlabelled", candidates), strict=False
    ):
        if step and step % (steps // lr_decays or 1) == 0:
            vae.lr, discriminator.lr = vae.lr * lr_decay, discriminator.lr * lr_decay
        for a, b in zip(known, unknown, strict=True):
            one, mean = representation(a, True)
            two, other = representation(b, False)
            fooled = -torch.log(state(mean)).mean() - torch.log(state(other)).mean()
            vae.step(one + two + adversarial * fooled)
        mean, other = code(x[known[-1]])[0].detach(), code(x[unknown[-1]])[0].detach()
        wanted = torch.tensor([0.0 if not supervised else 1 - uncertainties[i] for i in unknown[-1]])
        d = state(other)
        cross = wanted * torch.log(d) + (1 - wanted) * torch.log(1 - d)
        discriminator.step(-torch.log(state(mean)).mean() - cross.mean())
        if seconds is not None and seconds < 1e-6:  # over after the first
            break
    return torch.stack([-torch.log(state(code(x[[i]])[0]))[0] for i in candidates]).detach()
