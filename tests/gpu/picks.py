"""Every acquisition picks on the device what it picks on the CPU."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import TensorDataset

from lightning_al import ActiveLearningLoop, score
from lightning_al import acquisition as A
from lightning_al.tasks import SegmentationTask
from lightning_al.zoo import Classifier, LossPredictionClassifier, Segmenter, SmallUNet
from tests.gpu.models import CLASSES, NETS, Pictures, images, quiet, settled
from tests.gpu.record import Check, Where

Make = Callable[[], A.Acquisition]

BY_SCORES: dict[str, Make] = {
    "Entropy": A.Entropy,
    "Entropy, kmeans++": lambda: A.Entropy(selection="kmeans++"),
    "Entropy, badge": lambda: A.Entropy(selection="badge"),
    "LeastConfidence": A.LeastConfidence,
    "Margin": A.Margin,
    "MCDropout": lambda: A.MCDropout(add_dropout=0.3, passes=5),
    "BALD": lambda: A.BALD(add_dropout=0.3, passes=5),
    "EntropyGradNorm": A.EntropyGradNorm,
    "ExpectedGradNorm": A.ExpectedGradNorm,
    "SAAL": A.SAAL,
    "SAAL, top": lambda: A.SAAL(selection="top"),
    "SAAL, asam, kmeans++": lambda: A.SAAL(perturbation="asam", selection="kmeans++"),
    "SAAL, groups": lambda: A.SAAL(group_size=10),
    "SAAL, difference": lambda: A.SAAL(score="difference"),
    "LearningLoss": A.LearningLoss,
    "LPLGrad": A.LPLGrad,
}
TOGETHER: dict[str, Make] = {
    "Random": A.Random,
    "BatchBALD": lambda: A.BatchBALD(add_dropout=0.3, passes=20),
    "BADGE": A.BADGE,
    "CoreSet": A.CoreSet,
    "ProbCover": lambda: A.ProbCover(clusters=CLASSES),
    "TypiClust": A.TypiClust,
}
"""Picks that go together: one that differs by rounding brings others with it, so that float32's are only counted."""

LEARNT: dict[str, Make] = {
    "CoreGCN": lambda: A.CoreGCN(steps=20),
    "UncertainGCN": lambda: A.UncertainGCN(steps=20),
    "VAAL": lambda: A.VAAL(steps=4, width=4),
    "SRAAL": lambda: A.SRAAL(steps=4, width=4),
}
"""Those with networks of their own, trained in float32 for the query: rounding grows in training."""

IN_A_CAMPAIGN = ("QueryByCommittee", "RIPU", "RISAAL")

NAMES = {name.partition(",")[0] for name in (*BY_SCORES, *TOGETHER, *LEARNT)} | set(IN_A_CAMPAIGN)
"""All of the package's, which a test of this script sees to."""

PRECISIONS = {"float64": ("64-true", torch.float64), "float32": ("32-true", torch.float32)}


def checks(where: Where) -> Iterator[Check]:
    """Each acquisition on each net, in both precisions; then those that need a campaign."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    nets = ["CNN"] if where.tiny else list(NETS)
    for net in nets:
        for precision in PRECISIONS:
            for name, make in {**BY_SCORES, **TOGETHER, **LEARNT}.items():
                if where.tiny and precision == "float32" and name != "Entropy":
                    continue
                yield Check(
                    f"{name}, {net}, {precision}",
                    lambda n=name, m=make, net=net, p=precision: _pick(where, n, m, net, p),  # type: ignore[misc]
                )
    yield Check("QueryByCommittee, campaign", lambda: _campaign(where, lambda: A.QueryByCommittee(2, score="kl")))
    for name, region in {"RIPU": A.RIPU, "RISAAL": A.RISAAL, "Entropy": A.Entropy}.items():
        yield Check(f"{name}, regions", lambda make=region: _regions(where, make))


def _pick(where: Where, name: str, make: Make, net: str, precision: str) -> dict[str, Any]:
    size, k = (48, 5) if where.tiny else (240, 20)
    flag, dtype = PRECISIONS[precision]
    x, y = images(size)
    data = TensorDataset(x.to(dtype), y)
    of_both = []
    for accelerator in ("cpu", where.accelerator):
        kind = LossPredictionClassifier if name in ("LearningLoss", "LPLGrad") else Classifier
        model = kind(net=NETS[net](), num_classes=CLASSES)
        if isinstance(model, LossPredictionClassifier):
            model.predict_losses(x[:2].float())
        settled(model)
        with tempfile.TemporaryDirectory() as folder:
            trainer = quiet(accelerator, folder, precision=flag)
            of_both.append(
                score(model, data, make(), k, labelled=list(range(size // 6)), trainer=trainer, batch_size=32)
            )
    here, there = of_both
    common = len(set(here.picks) & set(there.picks)) / k
    figures: dict[str, Any] = {"in order": here.picks == there.picks, "common": common}
    exact = precision == "float64"
    tolerance = 1e-8 if exact else 1e-3
    if here.score is None or name in LEARNT or name in TOGETHER:
        return {**figures, "right": here.picks == there.picks if exact and name in TOGETHER else None}
    spread = float((here.score - here.score.mean()).abs().max().clamp(min=1e-30))
    error = float((here.score.double() - there.score.double()).abs().max()) / spread
    figures["score differs by"] = error
    if "badge" in name or "kmeans++" in name or name in ("SAAL", "SAAL, groups", "SAAL, difference"):
        return {**figures, "right": error <= tolerance and (here.picks == there.picks or not exact)}
    # The k best, up to ties that are nearer than the scores of both devices are to each other.
    position = {int(index): i for i, index in enumerate(here.index)}
    least = min(float(here.score[position[i]]) for i in here.picks)
    near = min(float(here.score[position[i]]) for i in there.picks) >= least - 2 * error * spread
    return {**figures, "right": error <= tolerance and near}


def _campaign(where: Where, make: Make) -> dict[str, Any]:
    """Fits too are on the device; in float64 they differ by some 1e-12."""
    said = []
    for accelerator in ("cpu", where.accelerator):
        L.seed_everything(0)
        model = Classifier(net=NETS["CNN"](), num_classes=CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            trainer = quiet(accelerator, folder, precision="64-true", max_epochs=2, callbacks=[make()])
            data = Pictures(48 if where.tiny else 240, torch.float64)
            loop = ActiveLearningLoop(
                model, data, initial=16, query_size=6, rounds=1, evaluate=None, dirpath=f"{folder}/c"
            )
            said.append(loop.run(trainer)[0])
    here, there = said
    common = len(set(here.picked) & set(there.picked)) / 6
    worst = max(map(abs, (a - b for a, b in zip(here.scores, there.scores, strict=True))), default=0.0)
    return {"in order": here.picked == there.picked, "common": common, "score differs by": worst, "right": common == 1}


class Maps(Pictures):
    """Images with a class for each pixel."""

    def __init__(self, n: int) -> None:
        super().__init__(n, torch.float64, channels=3)
        x = self.train.tensors[0]
        self.train = TensorDataset(x, (x.mean(1) > 0).long() + (x[:, 0] > 1).long())


def _regions(where: Where, make: Make) -> dict[str, Any]:
    said = []
    for accelerator in ("cpu", where.accelerator):
        L.seed_everything(0)
        with tempfile.TemporaryDirectory() as folder:
            trainer = quiet(accelerator, folder, precision="64-true", max_epochs=1, callbacks=[make()])
            loop = ActiveLearningLoop(
                Segmenter(net=settled(SmallUNet(num_classes=3, width=8)), num_classes=3),
                Maps(12),
                task=SegmentationTask(num_classes=3, regions=3),
                initial=4,
                query_size=2,
                rounds=1,
                evaluate=None,
                dirpath=f"{folder}/c",
            )
            loop.run(trainer)
            asked = (loop.campaign.regions.all(i) for i in range(12))  # type: ignore[union-attr]
            said.append(
                [None if mask is None else mask.nonzero()[0].tolist() + mask.nonzero()[1].tolist() for mask in asked]
            )
    same = said[0] == said[1] and any(said[0])
    return {"in order": same, "right": same}
