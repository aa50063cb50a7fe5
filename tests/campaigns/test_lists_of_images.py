"""Batches whose inputs are a list of images of different sizes, one entry for each sample, as detectors take them."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, Task
from lightning_al.acquisition import (
    BADGE,
    BALD,
    SAAL,
    SRAAL,
    VAAL,
    Acquisition,
    BatchBALD,
    CoreGCN,
    CoreSet,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LearningLoss,
    LPLGrad,
    QueryByCommittee,
    TypiClust,
)
from lightning_al.training import LossPredictionMixin
from tests.helpers.projects import make_trainer


class ListsNet(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(4, 3)

    def forward(self, images):
        return self.head(torch.cat([self.body(image[None]) for image in images]))

    def training_step(self, batch, _):
        return self(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Boxes(Task):
    def inputs(self, batch):
        return list(batch[0])

    def targets(self, batch):
        return batch[1]

    def with_label(self, sample, label):
        return sample[0], label

    def encode_label(self, label):
        return {name: value.tolist() for name, value in label.items()}

    def decode_label(self, value):
        return {name: torch.tensor(numbers) for name, numbers in value.items()}


class Brightness(Acquisition):
    """Looks at the inputs alone."""

    requires = frozenset()

    def score_batch(self, model, batch):
        return torch.stack([image.mean() for image in self.task.inputs(batch)])


def side_by_side(samples):
    return tuple(zip(*samples, strict=True))


class Images(L.LightningDataModule):
    def __init__(self, sizes):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        boxes = {"boxes": torch.rand(3, 4, generator=g), "labels": torch.ones(3).long()}
        self.samples = [(torch.rand(3, h, 8, generator=g), boxes) for h in sizes]

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=3, shuffle=True, collate_fn=side_by_side)

    def pool_dataset(self):
        return self.samples


SIZES = {"different": [6 + i % 5 for i in range(14)], "alike": [8] * 14}


def run(folder, acquisition, sizes, model=None):
    loop = ActiveLearningLoop(
        model or ListsNet(), Images(SIZES[sizes]), initial=6, query_size=3, rounds=1, task=Boxes(), evaluate=None,
        dirpath=folder / "c",
    )  # fmt: skip
    return loop.run(make_trainer(folder, acquisition=acquisition, max_epochs=1))


@pytest.mark.few(3)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    "acquisition",
    [
        Entropy, SAAL, lambda: SAAL(group_size=2, selection="badge"), EntropyGradNorm, ExpectedGradNorm,
        lambda: BALD(passes=3), lambda: BatchBALD(passes=3), CoreSet, BADGE, TypiClust, lambda: CoreGCN(steps=2),
        lambda: QueryByCommittee(members=2),
    ],
)  # fmt: skip
def test_campaigns(acquisition, sizes, tmp_path):
    assert len(run(tmp_path, acquisition(), sizes)[0].picked) == 3


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [LearningLoss, LPLGrad])
def test_losses_are_predicted_from_layers_that_see_all_images(acquisition, tmp_path):
    class Predicting(LossPredictionMixin, ListsNet):
        loss_layers = ("head",)

        def training_step(self, batch, _):
            outputs = self(batch[0])
            return nn.functional.mse_loss(outputs, torch.zeros_like(outputs))

    assert len(run(tmp_path, acquisition(), "different", Predicting())[0].picked) == 3


@pytest.mark.parametrize("acquisition", [VAAL, SRAAL])
def test_networks_that_need_a_tensor_say_so(acquisition, tmp_path):
    with pytest.raises((TypeError, ValueError), match=r"Override `inputs\(batch\)`") as caught:
        run(tmp_path, acquisition(steps=1), "different")
    assert len(str(caught.value)) < 700
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("initial_by", [False, True])
def test_an_acquisition_that_needs_no_logits_works_without(initial_by, tmp_path):
    class Silent(ListsNet):
        """Its outputs are boxes, of which there are as many as there are."""

        def training_step(self, batch, _):
            return super().forward(batch[0]).square().mean()

        def forward(self, images):
            raise NotImplementedError

    data = Images(SIZES["different"])
    loop = ActiveLearningLoop(
        Silent(), data, initial=6, initial_by=Brightness() if initial_by else "random", query_size=3, rounds=1,
        task=Boxes(), evaluate=None, dirpath=tmp_path,
    )  # fmt: skip
    [first, _] = loop.run(make_trainer(tmp_path, acquisition=Brightness(), max_epochs=1))
    means = {i: float(x.mean()) for i, (x, _) in enumerate(data.samples)}
    if initial_by:
        first_set = sorted(means, key=means.__getitem__)[-6:]
        left = [i for i in means if i not in first_set]
        assert first.picked == sorted(left, key=means.__getitem__)[:-4:-1]
    assert first.scores == pytest.approx([means[i] for i in first.picked])
    assert first.scores == sorted(first.scores, reverse=True)
