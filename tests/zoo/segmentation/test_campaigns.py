"""Campaigns with the zoo's models and data of segmentation, on small folders in the data sets' formats."""

import lightning.pytorch as pl
import pytest
import torch
from torchvision.transforms import v2

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import RIPU, SAAL, Entropy, EntropyGradNorm
from lightning_al.tasks import SegmentationTask
from lightning_al.zoo import DRN22, AdaptiveSegmenter, CamVidDataModule, Segmenter, SmallUNet, TwoDomainsDataModule
from tests.helpers.street_scenes import fill_camvid
from tests.zoo.segmentation.test_adaptive_segmenter import Rates
from tests.zoo.segmentation.test_segmenter import QUIET


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "acquisition", [Entropy(), EntropyGradNorm(), SAAL(selection="top")], ids=lambda a: type(a).__name__
)
def test_whole_images(tmp_path, acquisition):
    fill_camvid(tmp_path / "data", day=6)
    data = CamVidDataModule(str(tmp_path / "data"), batch_size=3, augmentation=[v2.RandomHorizontalFlip()])
    loop = ActiveLearningLoop(
        Segmenter(SmallUNet(11, width=8), num_classes=11),
        data,
        initial=3,
        query_size=2,
        rounds=1,
        task=SegmentationTask(11),
        evaluate="test",
        dirpath=tmp_path / "campaign",
    )
    trainer = pl.Trainer(max_steps=3, limit_val_batches=0, callbacks=[acquisition], **QUIET)
    history = loop.run(trainer)
    assert [result.labelled for result in history] == [3, 5]
    assert {"test_loss", "test_acc", "test_miou"} <= set(history[-1].metrics)
    for index, label in loop.campaign.labels.items():
        told = loop.task.decode_label(label)
        assert torch.equal(torch.as_tensor(told).long(), data.pool_dataset()[index][1])


def test_day_to_dusk_in_one_run(tmp_path):
    """Rates and counts go on from round to round; the target's images train beside the source's, by halves."""
    fill_camvid(tmp_path / "data", day=6, dusk=6)
    source, target = (
        CamVidDataModule(str(tmp_path / "data"), sequences=sequences) for sequences in (["0016E5", "Seq"], ["0001TP"])
    )
    data = TwoDomainsDataModule(source, target, batch_size=4, target_batch_size=2)
    ends = [3, 5, 8]
    model = AdaptiveSegmenter(
        SmallUNet(11, width=8), 11, head="classify", poly_steps=10, rounds_end_at=ends, negative_below=0.2
    )
    rates, domains = [], []

    class Seen(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            domains.append(sorted(batch["labelled"][2].tolist()))
            assert len(batch["target"]) == 2

    loop = ActiveLearningLoop(
        model,
        data,
        initial=0,
        query_size=2,
        rounds=2,
        known_share=0.5,
        reset="continue",
        task=SegmentationTask(11),
        evaluate="test",
        dirpath=tmp_path / "campaign",
    )
    trainer = pl.Trainer(max_epochs=100, callbacks=[Entropy(), Rates(rates), Seen()], **QUIET)
    history = loop.run(trainer)
    assert [result.labelled for result in history] == [6, 8, 10]
    assert int(model.trained_steps) == 8
    assert len(domains) == 8
    assert domains[:3] == [[0] * len(batch) for batch in domains[:3]]
    assert domains[3:] == [[0, 0, 1, 1]] * 5
    assert len(rates) == 8
    for step, (of_rest, _) in enumerate(rates):
        assert of_rest == pytest.approx(2.5e-4 * (1 - step / 10) ** 0.9, rel=1e-9)


def test_regions_of_the_target(tmp_path):
    """Squares are asked for of each image at dusk; training sees what was told and nothing else, mirrored or not."""
    truths = fill_camvid(tmp_path / "data", day=4, dusk=4)
    source, target = (
        CamVidDataModule(str(tmp_path / "data"), sequences=sequences, augmentation=[v2.RandomHorizontalFlip()])
        for sequences in (["0016E5", "Seq"], ["0001TP"])
    )
    told = []

    class Seen(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            _, masks, domains = batch["labelled"]
            told.extend(int((mask != 255).sum()) for mask in masks[domains == 1])

    loop = ActiveLearningLoop(
        AdaptiveSegmenter(SmallUNet(11, width=8), 11, head="classify", rounds_end_at=[2, 4, 6]),
        TwoDomainsDataModule(source, target, batch_size=4, target_batch_size=2),
        initial=0,
        query_size=2,
        rounds=2,
        known_share=0.5,
        reset="continue",
        task=SegmentationTask(11, regions=3),
        evaluate="test",
        dirpath=tmp_path / "campaign",
    )
    history = loop.run(pl.Trainer(max_epochs=100, callbacks=[RIPU(), Seen()], **QUIET))
    assert sorted(loop.campaign.labels) == [0, 1, 2, 3]
    asked = 0
    for index, label in loop.campaign.labels.items():
        mask = torch.as_tensor(loop.task.decode_label(label)).long()
        truth = torch.from_numpy(truths[f"0001TP_{index:06d}"])
        known = mask != 255
        assert torch.equal(mask[known], truth[known])
        assert (truth[known] != 11).all()
        asked += int(known.sum())
    assert history[-1].spent == asked
    assert asked <= 2 * 2 * 9 * 4
    # Two rounds with two steps each of two images at dusk, with one round's squares or with both.
    assert len(told) == 2 * 2 * 2
    assert all(0 < count <= 2 * 9 for count in told[:4])
    assert all(0 < count <= 4 * 9 for count in told[4:])


def test_drn_is_scored_by_the_rules():
    """The gradients of DRN-D-22 for each image, against one image at a time."""
    from lightning_al.functional import gradient_norm

    torch.manual_seed(0)
    net = DRN22(num_classes=4, width=2).double().train()
    net(torch.randn(4, 3, 32, 40, dtype=torch.double))  # running statistics of some data
    net.eval()
    x = torch.randn(3, 3, 32, 40, dtype=torch.double)

    def entropy(logits):
        return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean((1, 2))

    norms = gradient_norm(net, x, loss=entropy)
    for image, norm in zip(x, norms, strict=True):
        grads = torch.autograd.grad(entropy(net(image[None])).sum(), list(net.parameters()))
        assert float(norm) == pytest.approx(float(torch.stack([g.pow(2).sum() for g in grads]).sum().sqrt()), rel=1e-9)
