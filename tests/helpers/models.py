"""Small float64 models, one per way in which a per-sample gradient can go wrong."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

B, C = 5, 3


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(n=3, size=12):
    """Of float32, square."""
    return randn(n, 3, size, size).float()


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().double()


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False)
        self.head = nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).tanh()).relu().mean((2, 3)))


class Normalised(nn.Module):
    """BatchNorm with running statistics and affines far from their initial values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head = nn.Linear(4, C)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 3.0)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu()).mean((2, 3)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 4, padding_idx=0), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).mean(1).tanh())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True)
        self.head = nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.layer(x).tanh()).tanh())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(C, 4), nn.Linear(4, C)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).mean(1).tanh())


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).tanh())


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, C), nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, C), nn.Embedding(11, C)

    def forward(self, left: Tensor, right: Tensor, scale: float) -> tuple[str, Tensor]:
        return "second is the one", self.left(left).tanh() * scale + self.right(right)


class Branch(nn.Module):
    """Control flow that depends on the data: ``vmap`` cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, C), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(s) if s.sum() > 0 else self.other(s) for s in x.split(1)])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class InPlace(nn.Module):
    """Normalises its inputs in place, as some published models do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mul_(2.0).sub_(1.0))


class Counting(nn.Module):
    """Writes buffers in ``eval()`` too: one in place, one replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, C)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        self.last = x.detach().mean()
        return self.head(x)


def _sequential(norm: nn.Module) -> nn.Module:
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), nn.Linear(6, C))


class Case(NamedTuple):
    model: nn.Module
    inputs: Any
    forward: Callable[[nn.Module, Any], Tensor] | None = None
    traceable: bool = True


def _image() -> Tensor:
    return randn(B, 2, 6, 6)


def _sequence() -> Tensor:
    return randn(B, 3, 4)


def _words(top: int) -> Tensor:
    return torch.randint(top, (B, 4), generator=torch.Generator().manual_seed(2))


def _both(model: nn.Module, inputs: Any) -> Tensor:
    return model(inputs["left"], inputs["nested"][0], inputs["scale"])[1]


_CASES: dict[str, Callable[[], Case]] = {
    "convolution": lambda: Case(seeded(Convolution), _image()),
    "batch norm": lambda: Case(seeded(Normalised), _image()),
    "layer norm": lambda: Case(seeded(lambda: _sequential(nn.LayerNorm(6))), randn(B, 4)),
    "group norm": lambda: Case(seeded(lambda: _sequential(nn.GroupNorm(2, 6))), randn(B, 4)),
    "dense": lambda: Case(seeded(Dense), randn(B, 2, 3, 4)),
    "embedding": lambda: Case(seeded(Embedded), _words(11)),
    "attention": lambda: Case(seeded(Attention), _sequence()),
    "encoder layer": lambda: Case(seeded(Encoder), _sequence()),
    "layer used twice": lambda: Case(seeded(Twice), randn(B, 4)),
    "tied weights": lambda: Case(seeded(Tied), _words(C)),
    "frozen part": lambda: Case(seeded(Frozen), randn(B, 4)),
    "parameter without gradient": lambda: Case(seeded(Unused), randn(B, 4)),
    "pytree inputs": lambda: Case(
        seeded(Pair), {"left": randn(B, 4), "nested": [_words(11)[:, 0], None], "scale": 0.7}, _both
    ),
    "branch": lambda: Case(seeded(Branch), randn(B, 4), traceable=False),
    "lstm": lambda: Case(seeded(Recurrent), _sequence(), traceable=False),
    "in place": lambda: Case(seeded(InPlace), randn(B, 4)),
    "counting": lambda: Case(seeded(Counting), randn(B, 4), traceable=False),
}
NAMES = list(_CASES)


def case(name: str) -> Case:
    return _CASES[name]()


def take(inputs: Any, index: Any) -> Any:
    """The samples ``index`` of a pytree of dicts and lists."""
    if isinstance(inputs, Tensor):
        return inputs[index].clone()
    if isinstance(inputs, dict):
        return {k: take(v, index) for k, v in inputs.items()}
    return [take(v, index) for v in inputs] if isinstance(inputs, list) else inputs


class Notes(list):
    """What a model notes of its calls for a test; a plain list would be put back as it was before the scoring."""


class Mixing(nn.Module):
    """Takes something from the other samples, once it is told to."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.how = lambda h: h

    def forward(self, x):
        return self.head(self.how(self.first(x)).tanh())


def mix(h):
    return h - 0.3 * h.mean(0)


class Model(nn.Module):
    """Layers by name, and a forward made of them."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def tied(forward, **layers):
    def build():
        model = Model(forward, **{k: v() for k, v in layers.items()})
        model.second.weight = model.first.weight
        return model

    return seeded(build)


class Scale(nn.Module):
    """A layer of one's own, by shape and by keyword."""

    def __init__(self, d=4):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(d)), nn.Parameter(torch.rand(()))

    def forward(self, x, plus=None):
        y = x * self.scale + self.shift
        return y if plus is None else y + plus.mean(0)


class Planes(nn.Module):
    """Works on each channel of large maps by itself: nothing to gain from other samples."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.depthwise, self.head = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Linear(16, C)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x):
        return self.head(self.depthwise(self.norm(self.first(x)).relu()).square().mean((2, 3)))
