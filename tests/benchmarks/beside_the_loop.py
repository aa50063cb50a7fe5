"""Times exact SAAL and gradient norms beside the published loop, one image at a time, in one process and in turn.

    python tests/benchmarks/beside_the_loop.py                       # on a CPU, many minutes
    python tests/benchmarks/beside_the_loop.py --models ssd-small ssdlite --rounds 5

Ours may take the layers' rules or a plain loop of its own, by what the shapes say. "first" is the first call for a
model and a shape, everything that is found out about it included, the median of three new models in a process that has
scored another of their kind (torch makes some kernels at first); "ours" is any later one. Both are in forward passes
over the same batch (``eval()``, ``no_grad``; of a detector without its post-processing). The ratio is the median of
those of single rounds, in each of which all are measured one after the other; seconds are the process's own.

With ``--apart`` the published loop runs in a process of its own, in turn with ours: as it does where nobody scores with
this library, which has a process keep the memory that each sample frees.
"""

import argparse
import contextlib
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from lightning_al import functional as F_al
from lightning_al.functional import worst_case_perturbation
from lightning_al.tasks import ClassificationTask, DetectionTask, Task
from lightning_al.zoo import ResNet18, SmallUNet, TextClassifier

RHO = 0.05
BOXES = 14  # that a small SSD keeps of an image of blood cells after a minute of training


class SmallBackbone(nn.Module):
    """Three maps, of strides 8, 16 and 32."""

    out_channels = (64, 96, 128)

    def __init__(self) -> None:
        super().__init__()
        first = [(3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.first = nn.Sequential(*[self._block(*each) for each in first])
        self.second = nn.Sequential(self._block(64, 96, 2), self._block(96, 96, 1))
        self.third = nn.Sequential(self._block(96, 128, 2), self._block(128, 128, 1))

    @staticmethod
    def _block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        convolution = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.first(x)
        b = self.second(a)
        return {"0": a, "1": b, "2": self.third(b)}


def small_ssd() -> nn.Module:
    boxes = DefaultBoxGenerator([[2]] * 3, scales=[0.07, 0.16, 0.3, 0.5])
    return SSD(SmallBackbone(), boxes, (160, 160), 4)


def detector(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=4)


def classifier(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(num_classes=10, **options)


def vit(size: int, patch: int) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.VisionTransformer(size, patch, 6, 6, 384, 1536, num_classes=10)


class Recurrent(nn.Module):
    """Tokens, two recurrent layers, the mean over what they give."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.tokens = nn.Embedding(10_000, 128)
        self.layers = kind(128, 128, 2, batch_first=True)
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.tokens(x))[0].mean(1))


def bert() -> nn.Module:
    """A small one: 4 layers of width 256."""
    return TextClassifier(vocabulary=30_000, dim=256, depth=4, heads=4, max_length=256)


class Case(NamedTuple):
    """A model and its inputs: so many images of one size, or texts of so many tokens."""

    build: Callable[[], nn.Module]
    size: int
    batch: int
    kind: str = "images"


CASES = {
    "ssd-small": Case(small_ssd, 160, 4, "boxes"),
    "ssdlite": Case(detector("ssdlite320_mobilenet_v3_large"), 320, 4, "boxes"),
    "ssd300": Case(detector("ssd300_vgg16"), 300, 4, "boxes"),
    "resnet18-w64-32": Case(lambda: ResNet18(width=64), 32, 32),
    "resnet18-64": Case(classifier("resnet18"), 64, 8),
    "resnet18-224": Case(classifier("resnet18"), 224, 4),
    "resnet50-64": Case(classifier("resnet50"), 64, 8),
    "resnet50-224": Case(classifier("resnet50"), 224, 4),
    "mobilenet-64": Case(classifier("mobilenet_v3_large"), 64, 8),
    "mobilenet-224": Case(classifier("mobilenet_v3_large"), 224, 4),
    "efficientnet-64": Case(classifier("efficientnet_b0"), 64, 8),
    "efficientnet-224": Case(classifier("efficientnet_b0"), 224, 4),
    "convnext-64": Case(classifier("convnext_tiny"), 64, 8),
    "convnext-224": Case(classifier("convnext_tiny"), 224, 4),
    "swin-64": Case(classifier("swin_t"), 64, 8),
    "swin-224": Case(classifier("swin_t"), 224, 4),
    "vit-64": Case(vit(64, 8), 64, 8),
    "vit-224": Case(vit(224, 16), 224, 4),
    "unet-64": Case(lambda: SmallUNet(num_classes=11), 64, 8),
    "unet-224": Case(lambda: SmallUNet(num_classes=11), 224, 4),
    "bert-32": Case(bert, 32, 8, "tokens"),
    "bert-128": Case(bert, 128, 4, "tokens"),
    "lstm-32": Case(lambda: Recurrent(nn.LSTM), 32, 16, "tokens"),
    "lstm-128": Case(lambda: Recurrent(nn.LSTM), 128, 16, "tokens"),
    "gru-32": Case(lambda: Recurrent(nn.GRU), 32, 16, "tokens"),
    "gru-128": Case(lambda: Recurrent(nn.GRU), 128, 16, "tokens"),
}


class Prepared(NamedTuple):
    """A model with a batch, and the task that says what its losses are."""

    model: nn.Module
    inputs: Tensor
    task: Task

    def forward(self) -> Any:
        with torch.no_grad():
            return self.task.logits(self.model, self.inputs)

    def saal(self) -> Tensor:
        task = self.task
        options = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
        return F_al.saal(self.model, self.inputs, rho=RHO, **options)

    def norm(self) -> Tensor:
        return F_al.gradient_norm(self.model, self.inputs, loss=self._loss, forward=self.task.logits)

    def one_saal(self) -> Tensor:
        """As published: a perturbed copy of the weights for each image."""
        params = list(self.model.parameters())
        scores = []
        for one in self.inputs.split(1):
            outputs = self.task.logits(self.model, one)
            with torch.no_grad():
                labels = self.task.pseudo_targets(outputs)
            grads = self._gradients(self.task.loss(outputs, labels), params)
            with torch.no_grad():
                before = [p.clone() for p in params]
                for p, step in zip(params, worst_case_perturbation(params, grads, rho=RHO), strict=True):
                    p.add_(step)
                scores.append(self.task.loss(self.task.logits(self.model, one), labels))
                for p, old in zip(params, before, strict=True):
                    p.copy_(old)
        return torch.cat(scores)

    def one_norm(self) -> Tensor:
        """As published."""
        params = list(self.model.parameters())
        norms = []
        for one in self.inputs.split(1):
            grads = self._gradients(self._loss(self.task.logits(self.model, one)), params)
            norms.append(torch.stack([g.norm() for g in grads]).norm())
        return torch.stack(norms)

    def _loss(self, outputs: Any) -> Tensor:
        with torch.no_grad():
            labels = self.task.pseudo_targets(outputs)
        return self.task.loss(outputs, labels)

    @staticmethod
    def _gradients(losses: Tensor, params: list[nn.Parameter]) -> list[Tensor]:
        grads = torch.autograd.grad(losses.sum(), params, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]


def make(name: str) -> Prepared:
    """Build it with statistics and affines as after some training, and of a detector scores that keep some boxes."""
    torch.manual_seed(0)
    case = CASES[name]
    model = case.build().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    if case.kind == "tokens":
        return Prepared(model, torch.randint(1, 10_000, (case.batch, case.size)), ClassificationTask())
    images = torch.randn(case.batch, 3, case.size, case.size)
    if case.kind == "images":
        return Prepared(model, images, ClassificationTask())
    made = Prepared(model, images.sigmoid(), DetectionTask())
    _settle(made)
    return made


@torch.no_grad()
def _settle(made: Prepared) -> None:
    """Give a detector scores like a trained one's: boxes that score more than 0.5 are some 14 an image."""
    spread = float(made.forward().logits.std()) or 1.0
    head = made.model.head.classification_head
    last = [m for m in head.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    for layer in last:
        layer.weight.mul_(1.5 / spread)
        layer.bias.mul_(1.5 / spread)
    low, high = 0.0, 12.0
    for _ in range(8):  # the background's bias
        middle = (low + high) / 2
        _shift_background(last, middle)
        kept = sum(map(len, made.task.kept_boxes(made.model, made.inputs)))
        low, high = (middle, high) if kept > BOXES * len(made.inputs) else (low, middle)
        _shift_background(last, -middle)
    _shift_background(last, high)


def _shift_background(layers: list[nn.Conv2d], by: float) -> None:
    for layer in layers:
        layer.bias.view(-1, 4)[:, 0] += by


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


class Measured(NamedTuple):
    """What a model's scores cost, in forward passes over the same batch, and beside the published loop."""

    forward: float
    saal_first: float
    saal: float
    saal_loop: float
    saal_ratio: float
    norm_first: float
    norm: float
    norm_loop: float
    norm_ratio: float
    differ: float


Loop = Callable[[str], tuple[float, Tensor]]
"""``loop("saal")`` or ``loop("norm")``: the seconds that the published loop took, and its scores."""


@contextlib.contextmanager
def published_loop(name: str, *, apart: bool) -> Iterator[Loop]:
    """Give the published loop on a model, in this process or, ``apart``, in another one."""
    if not apart:
        made = make(name)
        yield lambda score: timed(made, score)
        return
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, name), daemon=True)
    process.start()

    def ask(score: str) -> tuple[float, Tensor]:
        here.send(score)
        taken, scores = here.recv()
        return taken, torch.tensor(scores)

    try:
        yield ask
    finally:
        here.send("")
        process.join()


def timed(made: Prepared, score: str) -> tuple[float, Tensor]:
    start = time.process_time()
    scores = {"saal": made.one_saal, "norm": made.one_norm}[score]()
    return time.process_time() - start, scores


def serve(pipe: Connection, name: str) -> None:
    """Answer with the seconds and the scores of the published loop, until nothing is asked for any more."""
    torch.set_num_threads(1)
    made = make(name)
    while score := pipe.recv():
        taken, scores = timed(made, score)
        pipe.send((taken, scores.tolist()))


def measure(name: str, rounds: int, *, channels_last: bool = False, apart: bool = False) -> Measured:
    made, ours = make(name), ordered(make(name), channels_last=channels_last)
    ours.saal(), ours.norm()  # once in a process torch makes kernels for these shapes
    new = (ordered(make(name), channels_last=channels_last) for _ in range(3))
    firsts = [statistics.median(each) for each in zip(*map(first_calls, new), strict=True)]
    once = min(seconds(made.forward) for _ in range(3))
    table = []
    with published_loop(name, apart=apart) as loop:
        differ = [
            float(((own - by_loop).abs() / by_loop.abs().clamp(min=1e-6)).max())
            for own, by_loop in ((ours.saal(), loop("saal")[1]), (ours.norm(), loop("norm")[1]))
        ]
        for _ in range(rounds):
            unit = min(seconds(made.forward) for _ in range(3))
            saal, one_saal = seconds(ours.saal) / unit, loop("saal")[0] / unit
            norm, one_norm = seconds(ours.norm) / unit, loop("norm")[0] / unit
            table.append((saal, one_saal, saal / one_saal, norm, one_norm, norm / one_norm))
    middle = [statistics.median(values) for values in zip(*table, strict=True)]
    return Measured(once, firsts[0], *middle[:3], firsts[1], *middle[3:], max(differ))


def ordered(made: Prepared, *, channels_last: bool) -> Prepared:
    """Return it with its model's weights in that order in memory."""
    if channels_last:
        made.model.to(memory_format=torch.channels_last)
    return made


def first_calls(made: Prepared) -> tuple[float, float]:
    """Return the first call of SAAL, and of the norm, for a model that is new, in forward passes."""
    gc.collect()  # of what is left of the models before
    made.forward()
    before = [seconds(made.forward) for _ in range(3)]
    saal, norm = seconds(made.saal), seconds(made.norm)
    once = statistics.median([*before, *(seconds(made.forward) for _ in range(3))])
    return saal / once, norm / once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--channels-last", action="store_true", help="score `model.to(memory_format=torch.channels_last)`; the loop not"
    )
    parser.add_argument("--apart", action="store_true", help="the published loop in a process of its own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':18}{'forward':>10}{'SAAL: first, ours, loop, ratio':>34}{'norm: the same':>24}   differ")
    for name in options.models:
        of = measure(name, options.rounds, channels_last=options.channels_last, apart=options.apart)
        print(
            f"{name:18}{1000 * of.forward:7.0f} ms"
            f"{of.saal_first:7.1f}{of.saal:7.2f}{of.saal_loop:7.2f}{of.saal_ratio:7.2f}"
            f"{of.norm_first:9.1f}{of.norm:7.2f}{of.norm_loop:7.2f}{of.norm_ratio:7.2f}   {of.differ:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
