"""SAM's family as loops over flat vectors and single samples, from the papers' equations."""

import copy
import math

import torch
from torch.nn import functional as F


class Window:
    """The batches of one step: their gradient and their samples' losses, at any shift of the weights."""

    def __init__(self, net, batches, n):
        self.net, self.batches, self.n = net, batches, n
        self.params = list(net.parameters())

    def at(self, shift, function):
        before = [w.detach().clone() for w in self.params]
        if shift is not None:
            with torch.no_grad():
                for w, s in zip(self.params, unflat(shift, self.params)):
                    w += s
        value = function()
        for w, b in zip(self.params, before):
            w.data = b
        return value

    def gradient(self, shift=None, chosen=None):
        """Of the mean loss of each batch, or of some of its samples, over n."""

        def add_up():
            total = torch.zeros(sum(w.numel() for w in self.params), dtype=torch.float64)
            for i, (x, y) in enumerate(self.batches):
                rows = range(len(x)) if chosen is None else chosen[i]
                for row in rows:
                    loss = F.cross_entropy(self.net(x[row : row + 1]), y[row : row + 1]) / len(rows) / self.n
                    grads = torch.autograd.grad(loss, self.params, allow_unused=True)
                    total += torch.cat(
                        [torch.zeros(w.numel()) if g is None else g.flatten() for g, w in zip(grads, self.params)]
                    )
            return total

        return self.at(shift, add_up)

    def losses(self, shift=None):
        def each():
            return [
                [float(F.cross_entropy(self.net(x[i : i + 1]), y[i : i + 1]).detach()) for i in range(len(x))]
                for x, y in self.batches
            ]

        return self.at(shift, each)


def unflat(vector, params):
    parts = vector.split([w.numel() for w in params])
    return [part.view_as(w) for part, w in zip(parts, params)]


def dot(a, b):
    return float((a * b).sum())


def climb(g, rho):
    return rho * g / (math.sqrt(dot(g, g)) + 1e-12)


def gsam(rho=0.5, alpha=0.4, rho_of=None):
    """Zhuang 2022, Algorithm 1."""

    def direction(t, window, lr):
        g = window.gradient()
        ahead = window.gradient(climb(g, rho if rho_of is None else rho_of(lr)))
        parallel = dot(g, ahead) / dot(ahead, ahead) * ahead
        return ahead - alpha * (g - parallel)

    return direction


def looksam(rho=0.5, alpha=0.7, every=5):
    """Liu 2022, Algorithm 1."""
    kept = {}

    def direction(t, window, lr):
        g = window.gradient()
        if t % every:
            v = kept["v"]
            return g + alpha * math.sqrt(dot(g, g)) / math.sqrt(dot(v, v)) * v
        ahead = window.gradient(climb(g, rho))
        cosine = dot(g, ahead) / math.sqrt(dot(g, g)) / math.sqrt(dot(ahead, ahead))
        kept["v"] = ahead - math.sqrt(dot(ahead, ahead)) * cosine * g / math.sqrt(dot(g, g))
        return ahead

    return direction


def esam(rho=0.5, beta=1.0, gamma=0.5, masks=None):
    """Du 2021, Algorithm 1; ``masks``: which weights each step moves, all by default."""

    def direction(t, window, lr):
        g = window.gradient()
        shift = climb(g, rho)
        if masks is not None:
            shift = torch.tensor([e / beta if m else 0.0 for e, m in zip(shift, masks[t])], dtype=torch.float64)
        chosen = []
        for before, after in zip(window.losses(), window.losses(shift)):
            by_rise = sorted(range(len(before)), key=lambda i: before[i] - after[i])
            chosen.append(sorted(by_rise[: max(1, math.ceil(gamma * len(before)))]))
        return window.gradient(shift, chosen)

    return direction


def by_hand(net, batches, make_optimizer, direction, n=1, clip=None, epochs=1, schedule=None):
    """Train ``net`` by ``direction(step, window, lr)``, which returns a flat vector."""
    optimizer = make_optimizer(net.parameters())
    scheduler = schedule(optimizer) if schedule else None
    t = 0
    for _ in range(epochs):
        for start in range(0, len(batches), n):
            window = Window(net, batches[start : start + n], n)
            step = unflat(direction(t, window, optimizer.param_groups[0]["lr"]), window.params)
            for w, g in zip(window.params, clip(step) if clip else step):
                w.grad = g.clone()
            optimizer.step()
            t += 1
        if scheduler:
            scheduler.step()
    return net


def divergence(old, new, tau):
    """KL(softmax(old / τ) ‖ softmax(new / τ)) of one sample, term by term."""
    p, q = torch.softmax(old / tau, 0), torch.softmax(new / tau, 0)
    return sum(p[c] * (torch.log(p[c]) - torch.log(q[c])) for c in range(len(p)))


def _trajectory_step(net, x, y, old, weight, tau, n):
    loss = sum(F.cross_entropy(net(x[i : i + 1]), y[i : i + 1]) for i in range(len(x))) / len(x)
    for i in range(len(x)):
        if old[i] is not None:
            loss = loss + weight * divergence(old[i], net(x[i : i + 1])[0], tau) / len(x)
    (loss / n).backward()


def saf(net, batches, make_optimizer, *, weight=0.3, tau=5.0, start=5, lag=3, epochs=1, n=1):
    """Du 2022, Algorithm 1: each sample's own outputs, ``lag`` epochs ago."""
    optimizer = make_optimizer(net.parameters())
    outputs = {}
    for epoch in range(epochs):
        for first in range(0, len(batches), n):
            optimizer.zero_grad()
            for b in range(first, min(first + n, len(batches))):
                x, y = batches[b]
                old = [outputs.get((epoch - lag, b, i)) if epoch >= start else None for i in range(len(x))]
                for i in range(len(x)):
                    outputs[epoch, b, i] = net(x[i : i + 1])[0].detach().clone()
                _trajectory_step(net, x, y, old, weight, tau, n)
            optimizer.step()
    return net


def mesa(net, batches, make_optimizer, *, weight=0.8, tau=5.0, start=5, decay=0.9995, epochs=1, n=1):
    """Du 2022, Algorithm 2: the outputs of a moving average of the weights, which begins with them."""
    optimizer = make_optimizer(net.parameters())
    average = copy.deepcopy(net).eval()
    for epoch in range(epochs):
        for first in range(0, len(batches), n):
            optimizer.zero_grad()
            for x, y in batches[first : first + n]:
                old = [average(x[i : i + 1])[0].detach() if epoch >= start else None for i in range(len(x))]
                _trajectory_step(net, x, y, old, weight, tau, n)
            optimizer.step()
            with torch.no_grad():
                for v, w in zip(average.parameters(), net.parameters()):
                    v.copy_(decay * v + (1 - decay) * w)
    return net
