"""Recipes of detection: that protocols and methods go together, and that numbers are those that were published."""

import contextlib
import io
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.transforms import v2

from lightning_al import Campaign, DetectionTask, zoo
from tests.helpers.boxed_pictures import fill_voc
from tests.helpers.marks import slow
from tests.helpers.recipes import DETECTION, OF_BOXES, arguments, head, load

pytest.importorskip("jsonargparse")
pytest.importorskip("faster_coco_eval")


def run(*files_and_flags):
    from lightning_al.cli import main

    main(["run", *arguments(*files_and_flags)])


class TestMade:
    @pytest.mark.parametrize("protocol", [slow(p) if p == "saal/voc" else p for p in DETECTION])
    def test_each_protocol(self, protocol, build, tmp_path):
        random = tmp_path / "random.yaml"  # VGG-16's weights would be downloaded
        random.write_text("model: {init_args: {detector: {init_args: {weights_backbone: null}}}}")
        _, made = build(protocol, "acquisitions/saal", *[f"--config={random}"] * (protocol == "saal/voc"))
        model, data = made["model"], made["data"]
        assert type(model) is zoo.Detector
        assert type(data) is zoo.VOCDetectionDataModule
        assert type(made["loop"]["task"]) is DetectionTask
        assert all(isinstance(transform, v2.Transform) for transform in data.augmentation)
        classes = len(data.named_classes)
        assert model.detector.detector.head.classification_head.num_columns == classes
        assert model.classes is None or model.classes == data.named_classes[1:]
        assert made["loop"]["task"].score_threshold == 0.5

    @pytest.mark.few(1)
    @pytest.mark.parametrize("method", OF_BOXES)
    def test_each_method(self, method, build):
        _, made = build("bccd/small", f"acquisitions/{method}")
        (callback,), (named,) = made["trainer"]["callbacks"], load(f"acquisitions/{method}")["trainer"]["callbacks"]
        assert type(callback).__name__ == named["class_path"]

    @pytest.mark.slow
    def test_other_models_keep_what_the_protocol_says(self, build):
        said = " ".join(head("bccd/small"))
        flags = [part for part in said.split() if part.startswith(("--model", "--trainer"))]
        assert len(flags) == 3
        model = build("bccd/small", *flags)[1]["model"]
        assert type(model) is zoo.LossPredictionDetector
        assert type(model.detector) is zoo.SmallSSD
        model = build("bccd/small", "acquisitions/saal", "--model=SAMDetector", "--model.rho=0.1")[1]["model"]
        assert type(model) is zoo.SAMDetector
        assert model.optimizer([torch.zeros(1)]).defaults["weight_decay"] == 0.01


class TestContents:
    @pytest.mark.parametrize("protocol", DETECTION)
    def test_head(self, protocol):
        said = "\n".join(head(protocol))
        (command,) = [line for line in head(protocol) if "lightning-al run" in line]
        assert command == f"   lightning-al run -c recipes/{protocol}.yaml -c recipes/acquisitions/saal.yaml"
        assert f"lightning-al compare runs/{protocol}" in said
        assert "--resume" in said
        small = "small" in protocol
        assert ("Published (" in said) == ("Left open: " in said) == ("Ours: " in said) == (not small)
        assert "anew is our reading" in " ".join(said.split()) or small
        if small:
            assert all(method in said for method in OF_BOXES)
        recipe = load(protocol)
        assert list(recipe) == ["trainer", "model", "data", "loop"]
        assert "callbacks" not in recipe["trainer"]
        assert (recipe["loop"]["reset"], recipe["loop"]["evaluate"]) == ("initial", "test")
        assert recipe["loop"]["dirpath"] == f"runs/{protocol}/{{method}}/seed_{{seed}}"

    def test_the_published_numbers_of_voc(self):
        recipe = load("saal/voc")
        loop, model, data = recipe["loop"], recipe["model"]["init_args"], recipe["data"]["init_args"]
        assert (loop["initial"], loop["query_size"], loop["rounds"]) == (1000, 1000, 9)
        assert (recipe["trainer"]["max_epochs"], data["batch_size"]) == (300, 32)
        assert model["scheduler"]["init_args"]["milestones"] == [300 * 2 // 3, 300 * 5 // 6]
        assert model["detector"]["init_args"]["num_classes"] == len(zoo.detection.voc.CLASSES) + 1 == 21
        assert data["train"] == ["VOC2007/trainval", "VOC2012/trainval"]

    def test_the_small_one_fixes_its_steps(self):
        recipe = load("bccd/small")
        steps = recipe["model"]["init_args"]["scheduler"]["init_args"]["total_steps"]
        assert steps == recipe["trainer"]["max_steps"]
        assert recipe["loop"]["initial"] + recipe["loop"]["rounds"] * recipe["loop"]["query_size"] == 60


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "entropy", "saal", "coreset"])
def test_the_small_one_runs(method, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    monkeypatch.chdir(tmp_path)
    fill_voc(tmp_path / "data", {"trainval": range(1, 13), "test": range(20, 24)})
    with contextlib.redirect_stdout(io.StringIO()):
        run(
            *("bccd/small", f"acquisitions/{method}", "--data.root=data", "--data.classes=[cat,dog]"),
            *("--model.detector.num_classes=3", "--model.classes=[cat,dog]", "--data.size=[64,64]"),
            *("--model.detector.size=[64,64]", "--loop.query_size=3", "--loop.rounds=2", "--trainer.max_steps=4"),
        )
    campaign = Campaign.load(f"runs/bccd/small/{method}/seed_0")
    assert [each.labelled for each in campaign.rounds] == [5, 8, 11]
    assert {"test_map", "test_map_50", "test_map_cat"} <= campaign.rounds[-1].metrics.keys()
    config = yaml.safe_load(Path(f"runs/bccd/small/{method}/seed_0/config.yaml").read_text())
    assert config["data"]["init_args"]["root"] == "data"
