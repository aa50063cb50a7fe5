"""Recipes of segmentation: that protocols and methods go together, and that numbers are those that were published."""

import pytest
import torch
from torchvision.transforms import v2

from lightning_al import AwaitTell, tasks, zoo
from tests.helpers.recipes import (
    OF_IMAGES,
    OF_PIXELS,
    OF_REGIONS,
    OF_SINGLE_PIXELS,
    SEGMENTATION,
    head,
    load,
)

pytest.importorskip("jsonargparse")


@pytest.fixture
def without_weights(tmp_path):
    """A last file that makes the network small, and leaves ImageNet's weights out, which would be downloaded."""
    path = tmp_path / "random.yaml"
    path.write_text("model: {init_args: {net: {init_args: {weights: null, backbone: resnet50, working_size: null}}}}")
    return f"--config={path}"


class TestMade:
    @pytest.mark.few(2)
    @pytest.mark.parametrize("protocol", SEGMENTATION)
    def test_each_protocol(self, protocol, build, without_weights):
        method = "ripu" if SEGMENTATION[protocol] == "regions" else "saal"
        _, made = build(protocol, f"acquisitions/{method}", *[without_weights] * protocol.startswith("ripu"))
        recipe = load(protocol)
        model, data, task = made["model"], made["data"], made["loop"]["task"]
        assert type(model) is getattr(zoo, recipe["model"]["class_path"])
        assert type(data) is getattr(zoo, recipe["data"]["class_path"])
        assert type(task) is tasks.SegmentationTask
        assert task.regions == (3 if SEGMENTATION[protocol] == "regions" else None)
        assert model(torch.zeros(1, 3, 32, 48)).shape == (1, task.num_classes, 32, 48)
        optimizer = model.configure_optimizers()
        optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
        given = recipe["model"]["init_args"]["optimizer"]
        assert type(optimizer).__name__ == given["class_path"].rpartition(".")[2]
        for part in (data.source, data.target) if hasattr(data, "source") else (data,):
            assert all(isinstance(transform, v2.Transform) for transform in part.augmentation)
            assert not hasattr(part, "names") or len(part.names) == task.num_classes

    @pytest.mark.few(1)
    @pytest.mark.parametrize("method", OF_IMAGES)
    def test_each_method_for_images(self, method, build):
        _, made = build("camvid/small", f"acquisitions/{method}")
        (callback,), (named,) = made["trainer"]["callbacks"], load(f"acquisitions/{method}")["trainer"]["callbacks"]
        assert type(callback).__name__ == named["class_path"]

    @pytest.mark.few(1)
    @pytest.mark.parametrize("method", OF_REGIONS + OF_PIXELS)
    def test_each_method_for_regions(self, method, build):
        _, made = build("camvid/small_regions", f"acquisitions/{method}")
        (callback,), (named,) = made["trainer"]["callbacks"], load(f"acquisitions/{method}")["trainer"]["callbacks"]
        assert type(callback).__name__ == named["class_path"]

    def test_the_form_of_single_pixels(self, build, without_weights):
        """By the flags of the head."""
        protocol = "ripu/synthia_to_cityscapes"
        flags = [flag for line in head(protocol) for flag in line.split() if flag.startswith("--") and "=" in flag]
        flags = [
            flag.rstrip(",") for flag in flags if any(name in flag for name in ("regions", "radius", "query_size"))
        ]
        assert len(flags) == 3
        _, made = build(protocol, "acquisitions/ripu", without_weights, *flags)
        assert made["loop"]["task"].regions == 1
        assert made["trainer"]["callbacks"][0].radius == 32
        assert made["loop"]["query_size"] == -(-8 * 2048 * 1024 // (1280 * 640))

    @pytest.mark.parametrize("method", OF_SINGLE_PIXELS)
    def test_a_method_of_single_pixels(self, method, build, without_weights):
        """By the flags of its own head: the same."""
        said = " ".join(head(f"acquisitions/{method}"))
        flags = [part for part in said.split() if part.startswith("--loop")]
        _, made = build("ripu/synthia_to_cityscapes", f"acquisitions/{method}", without_weights, *flags)
        (callback,) = made["trainer"]["callbacks"]
        callback.bind(made["loop"]["task"], AwaitTell())
        assert callback.radius == callback.region_spacing(0) == 32
        assert made["loop"]["task"].regions == 1
        assert made["loop"]["query_size"] == -(-8 * 2048 * 1024 // (1280 * 640))


class TestContents:
    @pytest.mark.parametrize("protocol", SEGMENTATION)
    def test_head(self, protocol):
        said = "\n".join(head(protocol))
        (command,) = [line for line in head(protocol) if "lightning-al run" in line]
        assert command.startswith(f"   lightning-al run -c recipes/{protocol}.yaml -c recipes/acquisitions/")
        assert f"lightning-al compare runs/{protocol}" in said
        assert "--resume" in said
        assert "Ours: " in said or "ours: " in said or "is ours" in said
        small = "small" in protocol
        assert ("Published (" in said) == (not small)
        assert ("eft open" in said) == (not small)
        if protocol == "camvid/small":
            assert all(method in said for method in OF_IMAGES)
        if protocol == "camvid/small_regions":
            assert all(method in said for method in OF_REGIONS + OF_PIXELS)

    @pytest.mark.parametrize("protocol", SEGMENTATION)
    def test_all_but_the_acquisition(self, protocol):
        recipe = load(protocol)
        assert list(recipe) == ["trainer", "model", "data", "loop"]
        assert "callbacks" not in recipe["trainer"]
        assert recipe["loop"]["evaluate"] == "test"
        assert recipe["loop"]["dirpath"] == f"runs/{protocol}/{{method}}/seed_{{seed}}"

    @pytest.mark.parametrize("method", OF_REGIONS)
    def test_methods_of_regions(self, method):
        assert list(load(f"acquisitions/{method}")) == ["trainer"]
        assert " Figures in: SAAL, Table 4." in head(f"acquisitions/{method}")
        (command,) = [line for line in head(f"acquisitions/{method}") if "lightning-al run" in line]
        assert command.endswith(f"-c recipes/ripu/synthia_to_cityscapes.yaml -c recipes/acquisitions/{method}.yaml")


class TestPublishedNumbers:
    def test_gradient_norms(self):
        recipe = load("gradient_norms/cityscapes")
        loop, model, data = recipe["loop"], recipe["model"]["init_args"], recipe["data"]["init_args"]
        images = 2975
        assert loop["initial"] == round(images * 0.10)
        assert loop["query_size"] == round(images * 0.05)
        assert 0.395 < (loop["initial"] + loop["rounds"] * loop["query_size"]) / images < 0.405
        assert loop["subpool_size"] == 10 * loop["query_size"]
        assert recipe["trainer"]["max_epochs"] == 50
        assert model["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.0001}}
        assert "scheduler" not in model
        assert model["net"]["class_path"] == "DRN22"
        assert (data["num_classes"], data["batch_size"]) == (19, 8)
        assert data["augmentation"][0]["init_args"] == {"size": [688, 688]}

    def test_ripu(self):
        recipe = load("ripu/synthia_to_cityscapes")
        loop, model, data = recipe["loop"], recipe["model"]["init_args"], recipe["data"]["init_args"]
        assert loop["query_size"] * loop["rounds"] == pytest.approx(0.022)
        assert (loop["initial"], loop["known_share"], loop["reset"]) == (0, 0.5, "continue")
        assert loop["task"]["init_args"] == {"num_classes": 16, "regions": 3}
        assert model["rounds_end_at"] == [10_000, 12_000, 14_000, 16_000, 18_000, 40_000]
        assert len(model["rounds_end_at"]) == loop["rounds"] + 1
        assert (model["poly_steps"], model["poly_power"]) == (62_500, 0.9)
        assert model["optimizer"]["init_args"] == {"lr": 0.00025, "momentum": 0.9, "weight_decay": 0.0005}
        assert (model["head_rate"], model["local_consistency"], model["negative_learning"]) == (10, 0.1, 1.0)
        assert model["negative_below"] == 0.05
        net = model["net"]["init_args"]
        assert (net["backbone"], net["head"], net["frozen_batch_norm"]) == ("resnet101", "v2", True)
        # 640 of 720 rows at 1280 columns, as the source is seen beside the target; masks keep their size.
        assert net["working_size"] == [640, 1280]
        source = data["source"]["init_args"]
        scale = 2048 / 1280
        assert source["size"] == [720 * scale, 1280 * scale]
        assert source["augmentation"][0]["init_args"] == {"size": [640 * scale, 1280 * scale]}
        assert (data["batch_size"], data["target_batch_size"]) == (4, 2)
        assert source["balanced"] == 2 * 62_500
        thirteen = zoo.segmentation.cityscapes.class_names(13)
        sixteen = zoo.segmentation.cityscapes.class_names(16)
        assert [sixteen[index] for index in model["also_over"]["13"]] == thirteen

    def test_small_regions_are_the_same_share(self):
        small, published = load("camvid/small_regions"), load("ripu/synthia_to_cityscapes")
        for name in ("initial", "query_size", "rounds", "known_share", "reset"):
            assert small["loop"][name] == published["loop"][name]
        assert len(small["model"]["init_args"]["rounds_end_at"]) == small["loop"]["rounds"] + 1
        steps = load("camvid/small")
        assert steps["model"]["init_args"]["scheduler"]["init_args"]["total_steps"] == steps["trainer"]["max_steps"]
