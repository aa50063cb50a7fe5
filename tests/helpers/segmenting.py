"""A task of regions with a model and a batch, for acquisitions bound without a loop."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightning_al import AwaitTell
from lightning_al.acquisition import Acquisition
from lightning_al.acquisition.regions import Regions
from lightning_al.tasks import SegmentationTask
from tests.helpers.models import randn, seeded
from tests.helpers.regions_reference import UNet

CLASSES, SHAPE = 4, (3, 8, 7)


def areas() -> Tensor:
    """Superpixels of a batch: strips, of which the first belongs to none."""
    return (torch.arange(56).reshape(8, 7) // 10 - 1).expand(SHAPE).clone()


def pictures() -> Tensor:
    return randn(3, 1, 8, 7)


@torch.no_grad()
def deciding() -> nn.Module:
    """A model that predicts each class somewhere."""
    model = seeded(lambda: UNet(CLASSES)).eval()
    model.head.weight.mul_(6)
    model.head.bias.sub_(model(pictures()).mean((0, 2, 3)))
    return model


@dataclass
class Segmenting:
    model: nn.Module = field(default_factory=deciding)
    images: Tensor = field(default_factory=pictures)

    def batch(self) -> list[Tensor]:
        return [self.images.clone(), torch.zeros(SHAPE, dtype=torch.long), areas()]

    def bind(self, acquisition: Acquisition, **task: object) -> Acquisition:
        acquisition.bind(SegmentationTask(CLASSES, **task), AwaitTell())
        return acquisition

    def scores(self, acquisition: Acquisition, regions: Regions, /, **task: object) -> Tensor:
        """What regions of the batch score, the way a pass over the pool asks for it."""
        bound = self.bind(acquisition, **task)
        got = bound.region_scores(self.model, self.batch(), regions)
        with torch.inference_mode():
            again = bound.region_scores(self.model, self.batch(), regions)
        assert not got.requires_grad
        if not regions.draws:
            assert torch.equal(got, again)
        return got

    def logits(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.images)


def draws(seed: int = 0, count: int = SHAPE[0]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]
