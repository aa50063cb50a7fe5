"""SAM under the fp16 scaler, a campaign over NCCL on one device, and compiled modules."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, score
from lightning_al import acquisition as A
from lightning_al.training import AutoSAMMixin
from lightning_al.zoo import Classifier, SAMClassifier
from tests.gpu.models import CLASSES, NETS, Pictures, images, quiet, settled
from tests.gpu.record import Check, Where


class AutoSAMClassifier(AutoSAMMixin, Classifier):
    """In automatic optimization."""


KINDS: dict[str, Callable[..., L.LightningModule]] = {
    "SAM": SAMClassifier,
    "ASAM": lambda **options: SAMClassifier(perturbation="asam", **options),
    "SAM, automatic": AutoSAMClassifier,
}


def checks(where: Where) -> Iterator[Check]:
    """Half precision first, then processes, then the compiler, which may take minutes."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    precisions = ("16-mixed", "bf16-mixed") if where.device.type == "cuda" else ("bf16-mixed",)
    for kind in KINDS:
        for precision in precisions:
            yield Check(f"{kind}, {precision}", lambda kind=kind, p=precision: _half(where, kind, p))
    yield Check("a campaign of SAM, half precision", lambda: _campaign(where, precisions[0]))
    yield Check("a campaign over processes", lambda: _processes(where))
    for name in ["CNN"] if where.tiny else list(NETS):
        for how in ("whole", "in place", "parts"):
            yield Check(f"scores, {name} compiled {how}", lambda name=name, how=how: _compiled(where, name, how))
    yield Check("a campaign of a compiled module", lambda: _compiled_campaign(where))


def _half(where: Where, kind: str, precision: str) -> dict[str, Any]:
    """Train as in float32, up to rounding; with a scaler that begins far too large, steps are skipped at first."""
    weights, losses = [], []
    for each in ("32-true", precision):
        L.seed_everything(0)
        model = KINDS[kind](net=settled(NETS["ResNet"]()), num_classes=CLASSES, optimizer=_sgd)
        before = _loss(model)
        with tempfile.TemporaryDirectory() as folder:
            trainer = quiet(where.accelerator, folder, precision=each, max_epochs=2 if where.tiny else 6)
            trainer.fit(model, DataLoader(Pictures(48 if where.tiny else 160).train, batch_size=16))
        model = model.cpu()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        losses.append(_loss(model) - before)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
    finite = bool(weights[1].isfinite().all())
    apart = float((weights[0] - weights[1]).norm() / weights[0].norm())
    figures = {"loss changed by": losses[1], "in float32": losses[0], "weights apart": apart}
    if scaler is not None:
        figures["scale"] = scaler.get_scale()
    return {**figures, "right": finite and losses[1] < 0 and apart < 0.1}


def _sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


@torch.no_grad()
def _loss(model: L.LightningModule) -> float:
    x, y = images(48)
    return float(nn.functional.cross_entropy(copy.deepcopy(model).eval()(x.float()), y))


def _run(where: Where, model: L.LightningModule, acquisition: A.Acquisition, **options: Any) -> ActiveLearningLoop:
    """Run a campaign of two rounds."""
    with tempfile.TemporaryDirectory() as folder:
        data = Pictures(48 if where.tiny else 240, options.pop("dtype", torch.float32))
        loop = ActiveLearningLoop(
            model, data, initial=16, query_size=8, rounds=2, evaluate="test", dirpath=f"{folder}/c", pool_batch_size=32
        )
        loop.run(quiet(where.accelerator, folder, max_epochs=2, callbacks=[acquisition], **options))
    return loop


def _campaign(where: Where, precision: str) -> dict[str, Any]:
    model = SAMClassifier(net=settled(NETS["ResNet"]()), num_classes=CLASSES)
    loop = _run(where, model, A.SAAL(), precision=precision)
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    return {"metrics": str(dict(loop.history[-1].metrics)), "right": finite and len(loop.history) == 3}


def _processes(where: Where) -> dict[str, Any]:
    """One device, but through DDP: NCCL on a GPU, gloo on a CPU; the picks are those of one without, in float64."""
    picks, backend = [], ""
    for strategy in ("auto", "ddp"):
        L.seed_everything(0)
        model = SAMClassifier(net=settled(NETS["CNN"]()), num_classes=CLASSES)
        loop = _run(where, model, A.Entropy(), strategy=strategy, precision="64-true", dtype=torch.float64)
        picks.append([r.picked for r in loop.history])
        if torch.distributed.is_initialized():
            backend = torch.distributed.get_backend()
    return {"backend": backend, "right": picks[0] == picks[1] and bool(backend)}


def _backend(where: Where) -> str:
    return "eager" if where.tiny else "inductor"


def _compile(net: nn.Module, how: str, backend: str) -> nn.Module:
    if how == "whole":
        return torch.compile(net, backend=backend)  # type: ignore[return-value]
    for each in [net] if how == "in place" else net.children():
        each.compile(backend=backend)
    return net


def _compiled(where: Where, name: str, how: str) -> dict[str, Any]:
    """Scores of a model that runs compiled are, bit for bit, those of the same weights as they are written."""
    x, y = images(32)
    data = TensorDataset(x.float(), y)
    figures: dict[str, Any] = {}
    same = True
    for acquisition in (A.SAAL, A.ExpectedGradNorm, A.BADGE, A.Entropy):
        said = []
        for compiles in (False, True):
            net = settled(NETS[name]()).to(where.device)
            if compiles:
                net = _compile(net, how, _backend(where))
                net.eval()(x[:8].float().to(where.device))
            with tempfile.TemporaryDirectory() as folder:
                trainer = quiet(where.accelerator, folder)
                model = Classifier(net=net, num_classes=CLASSES)
                said.append(score(model, data, acquisition(), 8, trainer=trainer, batch_size=16))
        same = same and said[0].picks == said[1].picks
        if said[0].score is not None:
            error = float((said[0].score - said[1].score).abs().max())
            figures[f"{acquisition.__name__} differs by"] = error
            same = same and error < 1e-4
    return {**figures, "right": same}


def _compiled_campaign(where: Where) -> dict[str, Any]:
    L.seed_everything(0)
    model = Classifier(net=settled(NETS["CNN"]()), num_classes=CLASSES)
    loop = _run(where, torch.compile(model, backend=_backend(where)), A.SAAL())  # type: ignore[arg-type]
    return {"metrics": str(dict(loop.history[-1].metrics)), "right": len(loop.history) == 3}
