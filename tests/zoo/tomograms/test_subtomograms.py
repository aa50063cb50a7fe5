import itertools
import pickle
import sys

import numpy as np
import pytest
import torch

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.tasks.keys import name_of
from lightning_al.zoo import Classifier, ResNet18, SubtomogramDataModule
from lightning_al.zoo.tomograms.subtomograms import turned
from lightning_al.zoo.tomograms.volumes import normalised_cube
from tests.helpers.projects import make_trainer
from tests.helpers.recipes import arguments
from tests.helpers.tomograms import fill, save_picks, save_volume


def opened(root, **options):
    data = SubtomogramDataModule(str(root), **{"cube": 8, **options})
    data.setup("fit")
    return data


def by_key(dataset):
    return {name_of(dataset, index): dataset[index] for index in range(len(dataset))}


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_what_is_read(tmp_path, suffix):
    made = fill(tmp_path, suffix=suffix)
    data = opened(tmp_path)
    assert data.classes == ["ball", "rod"]
    expected = {
        f"{name.removeprefix('train/')}{suffix} {x},{y},{z}": (volume, (z, y, x), label)
        for name, (volume, picks) in made.items()
        if name.startswith("train/")
        for x, y, z, label in picks
    }
    samples = by_key(data.pool_dataset())
    assert samples.keys() == expected.keys()
    assert len(samples) == 16
    for key, (volume, centre, label) in expected.items():
        assert torch.equal(samples[key][0], normalised_cube(volume, centre, 8)[None])
        assert data.classes[samples[key][1]] == label
    cubes, targets = next(iter(data.test_dataloader()))
    assert cubes.shape == (8, 1, 8, 8, 8)
    assert set(targets.tolist()) == {0, 1}
    assert len(next(iter(data.train_dataloader()))[0]) == 16


def test_noise_is_of_the_key(tmp_path):
    """The same at every read, in another process, and wherever a row is; of each sample its own."""
    made = fill(tmp_path)
    data = opened(tmp_path, snr=0.05)
    before = by_key(data.pool_dataset())
    state = torch.get_rng_state()
    again = by_key(pickle.loads(pickle.dumps(data.pool_dataset())))
    assert torch.equal(torch.get_rng_state(), state)
    save_picks(made["train/a"][1][::-1], tmp_path / "train" / "a.csv")
    reordered = opened(tmp_path, snr=0.05).pool_dataset()
    assert name_of(reordered, 0) != name_of(data.pool_dataset(), 0)
    for other in (again, by_key(reordered)):
        assert all(torch.equal(before[key][0], other[key][0]) for key in before | other)
    clean, elsewhere = (by_key(opened(tmp_path, **o).pool_dataset()) for o in ({}, {"snr": 0.05, "noise_seed": 1}))
    for other in (clean, elsewhere):
        assert not any(torch.equal(before[key][0], other[key][0]) for key in before)
    pixels = torch.stack([cube for cube, _ in before.values()]).flatten(1)
    assert torch.corrcoef(pixels).fill_diagonal_(0).abs().max() < 0.25


def test_a_pickled_dataset_holds_no_volume(tmp_path):
    fill(tmp_path)
    dataset = opened(tmp_path).pool_dataset()
    size = len(pickle.dumps(dataset))
    dataset[0]
    assert len(pickle.dumps(dataset)) == size


def test_many_volumes(tmp_path):
    """More than are held open."""
    fill(tmp_path)
    for n in range(20):
        save_volume(np.random.default_rng(n).standard_normal((8, 8, 8)).astype(np.float32), tmp_path / f"train/{n}.mrc")
        save_picks([(4, 4, 4, "ball")], tmp_path / f"train/{n}.csv")
    dataset = opened(tmp_path).pool_dataset()
    first, second = (torch.stack([dataset[i][0] for i in range(len(dataset))]) for _ in range(2))
    assert torch.equal(first, second)
    assert len(first.flatten(1).unique(dim=0)) == len(dataset) == 36


@pytest.mark.parametrize(("mirrored", "count"), [(False, 24), (True, 48)])
def test_turned(mirrored, count):
    """Against all ways to permute and flip the axes; of rotations the matrix has the determinant 1."""
    cube = torch.arange(27.0).view(1, 3, 3, 3)
    ways = {}
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            moved = cube.permute(0, *(axis + 1 for axis in axes)).flip([i + 1 for i in range(3) if flips[i] < 0])
            if mirrored or round(np.linalg.det(np.diag(flips) @ np.eye(3)[list(axes)])) == 1:
                ways[tuple(moved.flatten().tolist())] = 0
    assert len(ways) == count
    torch.manual_seed(0)
    for _ in range(40 * count):
        ways[tuple(turned(cube, mirrored=mirrored).flatten().tolist())] += 1
    assert sum(ways.values()) == 40 * count  # none but these
    assert min(ways.values()) > 10


def test_augment(tmp_path):
    cube = torch.arange(27.0).view(1, 3, 3, 3)
    for augmentation in ("rotate", "rotate and flip"):
        moved, label = SubtomogramDataModule(augmentation=augmentation).augment((cube, 1))
        assert label == 1
        assert torch.equal(moved.flatten().sort().values, cube.flatten())
    assert SubtomogramDataModule().augment((cube, 2))[0] is cube


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"`cube` must be at least 2, got 1"):
        SubtomogramDataModule(cube=1)
    with pytest.raises(ValueError, match=r"3 things.*`snr` must be above 0.*`voxel_size`.*`augmentation`"):
        try:
            SubtomogramDataModule(snr=0, voxel_size=0, augmentation="all")
        except ValueError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
    with pytest.raises(FileNotFoundError, match=r"must hold `train` and `test`"):
        opened(tmp_path)
    made = fill(tmp_path)
    with pytest.raises(ValueError, match=r"3 things cannot be as they are(.|\n)*a\.mrc.*(.|\n)*b\.mrc(.|\n)*c\.mrc"):
        opened(tmp_path, cube=17)
    with pytest.raises(ValueError, match="no class 'rod'; they are ball"):
        opened(tmp_path, classes=["ball"])
    save_picks([(1, 1, 1, "shell")], tmp_path / "test" / "c.csv")
    with pytest.raises(ValueError, match=r"c\.mrc 1,1,1: no class 'shell'; they are ball, rod"):
        opened(tmp_path)
    save_picks([(1, 1, 1, "")], tmp_path / "test" / "c.csv")
    with pytest.raises(ValueError, match=r"c\.mrc 1,1,1 has no class. What is tested on needs one"):
        opened(tmp_path)
    save_picks([(1, 1, 1, "")], tmp_path / "train" / "a.csv")
    save_picks([(1, 1, 1, "")], tmp_path / "train" / "deep" / "b.csv")
    with pytest.raises(ValueError, match=r"No pick in .*train has a class, so say their names: `--data.classes="):
        opened(tmp_path)
    save_picks(made["test/c"][1], tmp_path / "test" / "c.csv")
    volume = made["train/a"][0].copy()
    volume[0, 0, 0] = np.nan
    save_volume(volume, tmp_path / "train" / "a.mrc")
    with pytest.raises(ValueError, match=r"a\.mrc, the cube of 'a\.mrc 1,1,1': there are NaN"):
        opened(tmp_path, classes=["ball", "rod"]).pool_dataset()[0]
    monkeypatch.setitem(sys.modules, "mrcfile", None)
    with pytest.raises(ImportError, match=r"needs mrcfile: `pip install 'lightning-al\[tomography\]'`"):
        opened(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("snr", [None, 0.05])
def test_the_small_recipe_runs(tmp_path, monkeypatch, snr):
    """Entropy's and the expected gradient norm, two rounds; with the picks known by their places."""
    pytest.importorskip("jsonargparse")
    from lightning_al.cli import main

    fill(tmp_path / "data", count=20, shape=(24, 24, 32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    method = "entropy_grad_norm" if snr is None else "expected_grad_norm"
    flags = [f"--data.snr={snr}"] if snr else []
    flags += ["--data.root=data", "--data.cube=8", "--trainer.max_epochs=1", "--loop.rounds=1", "--loop.initial=10"]
    flags += ["--model.net.init_args.width=2", "--loop.query_size=5", "--loop.dirpath=runs/1"]
    main(["run", *arguments("cryo_et/small", f"acquisitions/{method}", *flags)])
    campaign = Campaign.load("runs/1")
    assert [r.labelled for r in campaign.rounds] == [10, 15]
    assert all(".mrc " in campaign.key_of(index) for index in campaign.labels)


def test_picks_of_no_class_are_for_people(tmp_path):
    """`AwaitTell` asks for them; the simulated oracle, which knows no class of theirs, is refused."""
    made = fill(tmp_path)
    for name in ("train/a", "train/deep/b"):
        save_picks([(x, y, z, "") for x, y, z, _ in made[name][1]], tmp_path / f"{name}.csv")

    def loop(**options):
        model = Classifier(ResNet18(2, 1, width=2, dimensions=3), 2)
        data = SubtomogramDataModule(str(tmp_path), cube=8, classes=["ball", "rod"])
        return ActiveLearningLoop(model, data, initial=4, query_size=2, evaluate="test", rounds=1, **options)

    with pytest.raises(TypeError, match=r"4 label\(s\).*got -1\. Where a dataset has no labels they are told"):
        loop(dirpath=str(tmp_path / "1")).run(make_trainer(tmp_path, max_epochs=1))
    people = loop(dirpath=str(tmp_path / "2"), oracle=AwaitTell())
    asked = people.ask(make_trainer(tmp_path, max_epochs=1))
    assert len(asked) == 4
    people.tell(asked, [0, 1, 0, 1])
    campaign = Campaign.load(str(tmp_path / "2"))
    assert sorted(campaign.labels.values()) == [0, 0, 1, 1]
    assert {".mrc " in campaign.key_of(index) for index in asked} == {True}
