"""Campaigns whose training samples are augmented, image and mask together."""

import random

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lightning_al import ActiveLearningLoop, Campaign, Loaders
from lightning_al.acquisition import SAAL, Entropy
from lightning_al.oracle import AwaitTell, DatasetOracle, NoisyOracle
from tests.helpers import processes
from tests.helpers.maps import SIZE, Flipped, MapData, MapNet, Maps, MapTask, Tells, flipped, mask, told
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

OPTIONS = {"initial": 8, "query_size": 4, "rounds": 2}


class WithPool(MapData):
    def pool_dataset(self):
        return Maps()


class Predicted(MapData):
    def predict_dataloader(self):
        return DataLoader(Maps(), batch_size=8)


class Augments(MapData):
    """``augment``, over a training set without augmentation."""

    def __init__(self, train=None, **loader):
        super().__init__(Maps() if train is None else train, **loader)

    def augment(self, sample):
        return flipped(sample)


class AugmentsPool(WithPool):
    """``augment``, over the pool; the training set augments for itself."""

    def augment(self, sample):
        return flipped(sample)


class HiddenPool(MapData):
    def pool_dataset(self):
        return Maps(hidden=True)

    def augment(self, sample):
        return flipped(sample)


class HiddenAlone(MapData):
    def pool_dataset(self):
        return Maps(hidden=True)


def run(tmp_path, data, model=None, *, resume=False, acquisition=None, folder="c", **options):
    model = MapNet() if model is None else model
    options = {**OPTIONS, "task": MapTask(), "dirpath": tmp_path / folder, **options}
    loop = ActiveLearningLoop(model, data, **options)
    return loop, loop.run(make_trainer(tmp_path, acquisition=acquisition), resume=resume)


def check_pairs(model, epochs=2):
    assert model.seen == epochs * (8 + 12 + 16)
    assert model.wrong == 0
    assert len(model.distinct) > 16  # some were flipped


def in_subsets():
    return ConcatDataset([Subset(Maps(flipped), range(0, 20)), Subset(Maps(flipped), range(20, SIZE))])


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("data", "options"),
    [
        (MapData, {}),
        (WithPool, {}),
        (Predicted, {"pool": "predict"}),
        (Augments, {}),
        (AugmentsPool, {}),
        (lambda: WithPool(in_subsets()), {}),
        (lambda: WithPool(num_workers=1), {}),
        (lambda: AugmentsPool(num_workers=1, persistent_workers=True), {}),
        (MapData, {"oracle": NoisyOracle(price=2.0)}),
        (WithPool, {"acquisition": SAAL(labels="true")}),
    ],
)
def test_every_sample_has_its_own_mask(tmp_path, data, options):
    model = MapNet()
    loop, history = run(tmp_path, data(), model, **options)
    assert [r.labelled for r in history] == [8, 12, 16]
    check_pairs(model)
    if type(loop.datamodule.datamodule) is not MapData:
        labels = Campaign.load(tmp_path / "c").labels
        assert all(label == mask(i).tolist() for i, label in labels.items())  # those without augmentation


@pytest.mark.few(1)
@pytest.mark.parametrize("data", [Augments, AugmentsPool, HiddenPool, lambda: AugmentsPool(num_workers=1)])
def test_told_masks_are_augmented_with_their_images(tmp_path, data):
    model = MapNet(shift=1)
    _, history = run(tmp_path, data(), model, oracle=Tells())
    assert [r.labelled for r in history] == [8, 12, 16]
    check_pairs(model)
    labels = Campaign.load(tmp_path / "c").labels
    assert all(label == told(i).tolist() for i, label in labels.items())


def test_augment_beside_loaders_on_an_instance_and_of_a_module(tmp_path):
    class OwnLoaders(MapNet):
        def train_dataloader(self):
            return DataLoader(Maps(flipped), batch_size=4, shuffle=True)

        def val_dataloader(self):
            return DataLoader(Maps(size=8, first=100), batch_size=4)

        def pool_dataset(self):
            return Maps()

        def augment(self, sample):
            return flipped(sample)

    train, val = DataLoader(Maps(flipped), batch_size=4, shuffle=True), DataLoader(Maps(size=8, first=100))
    on_instance = WithPool()
    on_instance.augment = flipped
    module = OwnLoaders(shift=1)
    of_each = [
        (MapNet(shift=1), Loaders(train, val, pool=Maps(), augment=flipped)),
        (MapNet(shift=1), on_instance),
        (module, None),
    ]
    weights = []
    for i, (model, data) in enumerate(of_each):
        run(tmp_path, data, model, oracle=Tells(), folder=str(i))
        check_pairs(model)
        weights.append(model.net.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("oracle", [Tells(), AwaitTell(), DatasetOracle(Maps(), MapTask())])
@pytest.mark.parametrize("data", [MapData, WithPool, lambda: MapData(Maps(flipped, hidden=True))])
def test_told_masks_beside_images_that_move_without_them(tmp_path, data, oracle):
    with pytest.raises(
        ValueError, match=r"^The training set augments in.*Give \w+ a method `augment\(sample\)`"
    ) as error:
        run(tmp_path, data(), oracle=oracle)
    assert len(str(error.value)) < 400
    assert not (tmp_path / "c").exists()


def test_told_masks_of_samples_without_targets_are_found_before_they_are_trained_on(tmp_path):
    def image_alone(sample):
        return (flipped(sample)[0],)

    model = MapNet(shift=1)
    with pytest.raises(ValueError, match=r"augments inputs \(sample 0 is .*`augment\(sample\)`"):
        run(tmp_path, MapData(Maps(image_alone)), model, oracle=Tells())
    assert model.seen == 0
    data = MapData(Maps(lambda sample: (sample[0],)))
    data.augment = flipped
    run(tmp_path, data, model, oracle=Tells(), resume=True)  # goes on with the labels that were told
    check_pairs(model)


def test_a_label_that_is_told_in_a_simulated_campaign_is_found_too(tmp_path):
    loop, _ = run(tmp_path, WithPool(), rounds=1)
    loop.tell([3], [told(3)])
    with pytest.raises(ValueError, match=r"the target of sample \d+ is another in each draw"):
        run(tmp_path, WithPool(), resume=True)
    run(tmp_path, AugmentsPool(), resume=True)


def noise(sample):
    return sample[0] + 1e-6 * random.random(), sample[1]


@pytest.mark.few(1)
@pytest.mark.parametrize("data", [lambda: MapData(Maps(noise)), lambda: MapData(Maps()), lambda: WithPool(Maps(noise))])
def test_told_masks_beside_images_that_change_in_their_places(tmp_path, data):
    model = MapNet(shift=1)
    run(tmp_path, data(), model, oracle=Tells())
    assert model.wrong == 0


def test_a_pool_without_targets_beside_augmented_ones(tmp_path):
    with pytest.raises(ValueError, match=r"`pool_dataset\(\)` of HiddenPool has no targets. Return them") as error:
        run(tmp_path, HiddenPool())
    assert len(str(error.value)) < 400


@pytest.mark.few(1)
@pytest.mark.parametrize("data", [MapData, WithPool, HiddenAlone, AugmentsPool])
def test_a_campaign_goes_on_bit_by_bit(tmp_path, data):
    whole, parts = MapNet(), MapNet()
    _, history = run(tmp_path, data(), whole)
    for rounds in (0, 1, 2):
        parts = MapNet()
        _, again = run(tmp_path, data(), parts, rounds=rounds, folder="parts", resume=True)
        random.random()
    assert picks(again) == picks(history)
    assert torch.equal(whole.net.weight, parts.net.weight)


class Points(Data):
    """Inputs are turned around, classes stay."""

    def setup(self, stage):
        super().setup(stage)
        self.plain, self.train = self.train, Flipped(*make_data(self.n))

    def pool_dataset(self):
        return self.plain


def test_classes_of_the_data_and_told_ones_train_the_same(tmp_path):
    weights = []
    labels = make_data()[1]
    for i, oracle in enumerate([DatasetOracle(), Tells(lambda index: int(labels[index])), NoisyOracle(flip=0.0)]):
        model = Net()
        run(tmp_path, Points(), model, task=None, oracle=oracle, acquisition=Entropy(), folder=str(i))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_augment_that_is_for_something_else(tmp_path):
    data = WithPool()
    data.augment = True  # an option
    model = MapNet()
    run(tmp_path, data, model, folder="0")
    check_pairs(model)

    class OfImages(WithPool):
        def augment(self, image):
            return image.flip(-1)

    with pytest.raises(ValueError, match=r"`augment` of OfImages failed on a training sample: AttributeError"):
        run(tmp_path, OfImages(), folder="1")
    assert not (tmp_path / "1").exists()
    data.augment = lambda sample: None
    with pytest.raises(ValueError, match=r"`augment` of WithPool returned None"):
        run(tmp_path, data, folder="2")


class Strict(MapNet):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        assert self.wrong == 0
        return loss


@pytest.mark.slow
def test_two_processes(tmp_path):
    for data, oracle, shift in ((WithPool, None, 0), (AugmentsPool, Tells(), 1)):
        options = {"model": Strict(shift), "data": data(), "task": MapTask(), "oracle": oracle, "rounds": 1}
        history, _ = processes.run(tmp_path / data.__name__, 2, **options)
        assert [r.labelled for r in history] == [6, 11]
    with pytest.raises(Exception, match=r"ValueError: The training set augments .* is another in each draw"):
        processes.run(tmp_path / "told", 2, model=Strict(1), data=WithPool(), task=MapTask(), oracle=Tells())


def test_labels_that_are_tuples_and_come_again(tmp_path):
    class Pairs(MapTask):
        def encode_label(self, label):
            return tuple(map(tuple, label.tolist()))

    for rounds in (1, 2):
        _, history = run(tmp_path, MapData(Maps()), rounds=rounds, task=Pairs(), resume=True)
    assert [r.labelled for r in history] == [8, 12, 16]
