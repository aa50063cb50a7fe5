"""A small project whose questions are regions of images: stripes of three classes, with void between them."""

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, Campaign, SegmentationTask
from lightning_al.acquisition import Entropy
from tests.helpers.projects import make_trainer

CLASSES, VOID = 3, 255
HEIGHT, WIDTH, IMAGES = 9, 12, 10


def make_images(n=IMAGES, *, seed=0, shape=(HEIGHT, WIDTH)):
    """Images (n, 3, H, W) in which the class is plain to see, and masks (n, H, W) of which the right edge is void."""
    draws = torch.Generator().manual_seed(seed)
    masks = torch.randint(CLASSES, (n, 3, 4), generator=draws)
    masks = nn.functional.interpolate(masks[:, None].double(), size=shape)[:, 0].long()
    images = nn.functional.one_hot(masks, CLASSES).movedim(3, 1) + torch.randn(n, 3, *shape, generator=draws)
    masks[:, :, -2:] = VOID
    return images, masks


class Images(L.LightningDataModule):
    def __init__(self, n=IMAGES, batch_size=4, *, shape=(HEIGHT, WIDTH), areas=None):
        super().__init__()
        self.n, self.batch_size, self.shape, self.areas = n, batch_size, shape, areas

    def setup(self, stage):
        entries = make_images(self.n, shape=self.shape)
        if self.areas is not None:
            entries = (*entries, self.areas.expand(self.n, *self.areas.shape))
        self.train = TensorDataset(*entries)
        self.held_out = TensorDataset(*make_images(4, seed=1, shape=self.shape))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=4)

    def pool_dataset(self):
        return self.train


class NamedImages(Images):
    """Images that have names, and classes too."""

    def setup(self, stage):
        super().setup(stage)
        self.train = _Named(*self.train.tensors)


class _Named(TensorDataset):
    classes = ("road", "tree", "sky")

    def sample_key(self, index):
        return f"image_{index}.jpg"


class Pixels(L.LightningModule):
    """A class for each pixel; it notes what it is trained on."""

    def __init__(self, width=4):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, CLASSES, 1)).double()
        self.trained_on: list[torch.Tensor] = []

    def forward(self, x):
        return self.net(x.double())

    def training_step(self, batch, batch_idx):
        x, y = batch[:2]
        self.trained_on.append(y)
        return nn.functional.cross_entropy(self(x), y, ignore_index=VOID)

    def validation_step(self, batch, batch_idx):
        x, y = batch[:2]
        hits = (self(x).argmax(1) == y)[y != VOID]
        self.log("val_acc", hits.double().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def region_task(regions=3, **options):
    return SegmentationTask(CLASSES, ignore_index=VOID, regions=regions, **options)


def region_loop(folder, model=None, data=None, *, task=None, **options):
    """A loop over the small project, of three fits unless told otherwise, in ``folder / "c"``."""
    defaults = {"initial": 2, "query_size": 2, "rounds": 2, "dirpath": folder / "c", "task": task or region_task()}
    return ActiveLearningLoop(model or Pixels(), data or Images(), **{**defaults, **options})


def run_regions(folder, acquisition=None, trainer=None, **options):
    """Run a campaign to its end; return the loop."""
    loop = region_loop(folder, **options)
    acquisition = Entropy() if acquisition is None else acquisition
    loop.run(make_trainer(folder, acquisition=acquisition, max_epochs=1, **(trainer or {})))
    return loop


def regions_asked(folder):
    """The questions for regions, round by round: which pixels of which image."""
    from lightning_al.campaign.regions import region_of

    events = [event for event in Campaign.read_events(folder) if event["kind"] == "asked" and event["round"] >= 0]
    return [
        {i: region_of(region) for i, region in zip(event["indices"], event["regions"], strict=True)} for event in events
    ]


def labels_in(campaign):
    """The labels as masks, by dataset index."""
    from lightning_al.tasks.mask_png import mask_from_png

    return {index: np.asarray(mask_from_png(label.data)) for index, label in campaign.labels.items()}
