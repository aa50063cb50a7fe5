"""A SAM loop written by hand, and the module that it is compared with."""

import copy
import math

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.training import AutoSAMMixin, SAMMixin

torch.set_num_threads(1)


ROWS, FEATURES, CLASSES = 22, 5, 3


def rows(count=ROWS, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, FEATURES, generator=g, dtype=torch.float64).to(dtype)
    y = torch.randint(CLASSES, (count,), generator=g)
    return TensorDataset(x, y)


def loader(count=ROWS, batch_size=4, dtype=torch.float64):
    """22 rows in batches of 4: five full ones and a last one of 2."""
    return DataLoader(rows(count, dtype=dtype), batch_size=batch_size)


def network(dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(FEATURES, 7), nn.Tanh(), nn.Linear(7, CLASSES)).to(dtype)


def sgd(params):
    return torch.optim.SGD(params, lr=0.3, momentum=0.9)


def adam(params):
    return torch.optim.Adam(params, lr=0.02)


def written_on(*bases):
    """A user's module with a ``training_step`` of its own, on any bases."""

    class Net(*bases):
        def __init__(self, optimizer=sgd, net=None, **kwargs):
            super().__init__(**kwargs)
            self.net = net if net is not None else network()
            self.optimizer = optimizer
            self.passes = []

        def training_step(self, batch, batch_idx):
            self.passes.append(getattr(self, "sam_pass", 0))
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return self.optimizer(self.parameters())

    return Net


Plain = written_on(LightningModule)


class ManualFront(SAMMixin, Plain):
    pass


class AutoFront(AutoSAMMixin, Plain):
    pass


ManualOwn = written_on(SAMMixin, LightningModule)


AutoOwn = written_on(AutoSAMMixin, LightningModule)


class ManualSuper(ManualFront):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        return super().configure_optimizers()


class AutoSuper(AutoOwn):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)


MANUAL = [ManualFront, ManualOwn, ManualSuper]


AUTO = [AutoFront, AutoOwn, AutoSuper]


def trainer(**kwargs):
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**defaults, **kwargs})


def sam_epsilon(params, grads, names, rho=0.05, p=2.0):
    """Foret 2020, Eq. 2, as printed."""
    if math.isinf(p):
        return [rho * torch.sign(g) for g in grads]
    q = 1 / (1 - 1 / p)
    norm = sum(float((g.abs() ** q).sum()) for g in grads) ** (1 / p)
    return [rho * torch.sign(g) * g.abs() ** (q - 1) / norm for g in grads]


def asam_epsilon(params, grads, names, rho=0.05, eta=0.0, scope="all"):
    """Kwon 2021, Eq. 7, as printed."""
    t = [w.abs() + eta if scope == "all" or "weight" in n else torch.ones_like(w) for w, n in zip(params, names)]
    norm = math.sqrt(sum(float(((s * g) ** 2).sum()) for s, g in zip(t, grads)))
    return [rho * s**2 * g / norm for s, g in zip(t, grads)]


def hand_sam(net, batches, make_optimizer, epsilon=sam_epsilon, n=1, clip=None, epochs=1, each_step=None):
    """SAM as a loop over batches. Returns the losses at θ, one per batch."""
    optimizer = make_optimizer(net.parameters())
    names, params = zip(*net.named_parameters())
    losses = []

    def gradient(window, keep):
        total = [torch.zeros_like(w) for w in params]
        for x, y in window:
            loss = F.cross_entropy(net(x), y)
            if keep:
                losses.append(float(loss.detach()))
            for t, g in zip(total, torch.autograd.grad(loss / n, params)):
                t += g
        return total

    for _ in range(epochs):
        for start in range(0, len(batches), n):
            window = batches[start : start + n]
            theta = [w.detach().clone() for w in params]
            first = gradient(window, True)
            with torch.no_grad():
                for w, e in zip(params, epsilon(theta, first, names)):
                    w += e
            second = gradient(window, False)
            if clip is not None:
                second = clip(second)
            with torch.no_grad():
                for w, t, g in zip(params, theta, second):
                    w.data = t
                    w.grad = g
            optimizer.step()
            if each_step is not None:
                each_step(optimizer)
    return losses


def by_norm(limit):
    def clip(grads):
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
        return [g * min(1.0, limit / (norm + 1e-6)) for g in grads]  # torch's own 1e-6

    return clip


def by_value(limit):
    return lambda grads: [g.clamp(-limit, limit) for g in grads]


def fitted(module, **kwargs):
    data = kwargs.pop("data", None) or loader()
    t = trainer(**kwargs)
    t.fit(module, data)
    return module


def expected(**kwargs):
    net = network()
    hand_sam(net, list(loader()), kwargs.pop("optimizer", sgd), epochs=kwargs.pop("epochs", 2), **kwargs)
    return net


def distance(net, other):
    pairs = zip(net.parameters(), other.parameters(), strict=True)
    return max((a - b).detach().abs().max().item() for a, b in pairs)


def copy_of(net):
    return copy.deepcopy(net)


BATCHES = 6


EXACT = 1e-11  # the papers' 1e-12 beside a norm of about 0.1
