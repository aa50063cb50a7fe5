"""Average precision beside a plain loop over detections."""

import pytest
import torch

from lightning_al.zoo import Detector
from lightning_al.zoo.detection.mean_ap import mean_ap, precisions

pytest.importorskip("faster_coco_eval")

THRESHOLDS = [0.5 + 0.05 * n for n in range(10)]


def scenes(images=6, classes=3, seed=0):
    """Targets, and detections around them: some moved, some twice, some of another class, some of nothing."""
    g = torch.Generator().manual_seed(seed)
    targets, detections = [], []
    for n in range(images):
        count = n % 4
        corners = torch.rand(count, 2, generator=g) * 60
        boxes = torch.cat([corners, corners + 8 + torch.rand(count, 2, generator=g) * 30], 1)
        labels = torch.randint(1, classes + 1, (count,), generator=g)
        targets.append({"boxes": boxes, "labels": labels})
        moved = torch.cat([boxes, boxes, torch.rand(2, 4, generator=g).cumsum(1) * 20])
        moved[:, 2:] = torch.maximum(moved[:, 2:] + torch.randn(len(moved), 2, generator=g) * 3, moved[:, :2] + 1)
        said = torch.cat([labels, labels, torch.randint(1, classes + 1, (2,), generator=g)])
        said[::5] = 1
        scores = torch.rand(len(moved), generator=g)
        detections.append({"boxes": moved, "labels": said, "scores": scores})
    return detections, targets


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return both / (area - both)


def ap_by_hand(detections, targets, label, threshold):
    """Of one class: greedy matches by score, precision made monotone, its mean at 101 recalls."""
    found, total = [], 0
    for own, target in zip(detections, targets, strict=True):
        truth = [box.tolist() for box, c in zip(target["boxes"], target["labels"], strict=True) if c == label]
        total += len(truth)
        mine = [(float(s), b.tolist()) for s, b, c in zip(own["scores"], own["boxes"], own["labels"]) if c == label]
        free = set(range(len(truth)))
        for score, box in sorted(mine, key=lambda each: -each[0]):
            best = max(free, key=lambda place: overlap(box, truth[place]), default=None)
            hit = best is not None and overlap(box, truth[best]) >= threshold
            free -= {best} if hit else set()
            found.append((score, hit))
    found.sort(key=lambda each: -each[0])
    curve, hits = [], 0
    for number, (_, hit) in enumerate(found, 1):
        hits += hit
        curve.append((hits / total, hits / number))
    return (
        sum(
            max((precision for recall, precision in curve if recall >= at / 100 - 1e-12), default=0.0)
            for at in range(101)
        )
        / 101
    )


def test_values_are_those_of_a_plain_loop():
    detections, targets = scenes()
    metric = mean_ap()
    for own, target in zip(detections, targets, strict=True):  # image by image
        metric.update([own], [target])
    values = precisions(metric, ["a", "b", "c"])
    by_hand = {label: [ap_by_hand(detections, targets, label, t) for t in THRESHOLDS] for label in (1, 2, 3)}
    expected = {"map": sum(map(sum, by_hand.values())) / 30, "map_50": sum(each[0] for each in by_hand.values()) / 3}
    for label, name in ((1, "a"), (2, "b"), (3, "c")):
        expected |= {f"map_{name}": sum(by_hand[label]) / 10, f"map_50_{name}": by_hand[label][0]}
    assert values.keys() == expected.keys()
    assert 0.1 < expected["map"] < expected["map_50"] < 1
    for name, value in expected.items():
        assert float(values[name]) == pytest.approx(value, abs=1e-6), name


def test_a_class_without_a_target_has_no_value():
    detections, targets = scenes()
    metric = mean_ap()
    others = [{name: part[target["labels"] != 2] for name, part in target.items()} for target in targets]
    metric.update(detections, others)
    values = precisions(metric, ["a", "b", "c"])
    assert set(values) == {"map", "map_50", "map_a", "map_50_a", "map_c", "map_50_c"}
    assert float(values["map"]) == pytest.approx(float(values["map_a"] + values["map_c"]) / 2)
    assert set(precisions(metric)) == {"map", "map_50"}


def test_what_is_ignored_neither_counts_nor_harms():
    box = torch.tensor([[10.0, 10, 30, 30]])
    other = torch.tensor([[50.0, 50, 80, 80]])
    label, score = torch.tensor([1]), torch.tensor([0.9])
    metric = mean_ap()
    detected = {"boxes": torch.cat([box, other]), "labels": label.repeat(2), "scores": torch.tensor([0.8, 0.9])}
    both = {"boxes": torch.cat([box, other]), "labels": label.repeat(2), "iscrowd": torch.tensor([0, 1])}
    metric.update([detected], [both])
    assert float(precisions(metric)["map"]) == pytest.approx(1.0)
    metric.update([{"boxes": other[:0], "labels": label[:0], "scores": score[:0]}], [both])
    assert float(precisions(metric)["map"]) == pytest.approx(51 / 101)  # one of two boxes was found


def test_nothing_seen_is_0():
    metric = mean_ap()
    assert {name: float(value) for name, value in precisions(metric, ["a"]).items()} == {"map": 0.0, "map_50": 0.0}
    none = torch.zeros(0, dtype=torch.long)
    metric.update(
        [{"boxes": torch.zeros(0, 4), "labels": none, "scores": torch.zeros(0)}] * 2,
        [{"boxes": torch.zeros(0, 4), "labels": none}] * 2,
    )
    assert float(precisions(metric, ["a"])["map"]) == 0.0


def test_what_is_missing_is_said_before_anything_trains(monkeypatch):
    missing = "lightning_al.zoo.detection.mean_ap.find_spec"
    monkeypatch.setattr(missing, lambda name: None if "coco" in name else True)
    with pytest.raises(ImportError, match=r"needs torchvision, and `faster-coco-eval`.*lightning-al\[detection\]"):
        Detector(torch.nn.Linear(1, 1))
