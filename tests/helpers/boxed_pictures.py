"""Small folders in the forms of Pascal VOC and COCO: bright rectangles on dark pictures."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

CLASSES = ["cat", "dog"]


def drawn(seed, height=24, width=32, most=3):
    """A picture (H, W, 3) and boxes in it, (left, top, right, bottom, class), that do not touch; the first has none."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
    boxes = []
    for column in range(seed % (most + 1)):
        left = 1 + column * (width // most)
        right = left + int(rng.integers(3, width // most - 1))
        top = int(rng.integers(0, height // 2))
        bottom = top + int(rng.integers(3, height // 2))
        label = int(rng.integers(1, 3))
        pixels[top:bottom, left:right, label] = 250
        boxes.append((left, top, right, bottom, label))
    return pixels, boxes


def fill_voc(root, parts, *, difficult=(), first_pixel=1, suffix=".png"):
    """VOC: files of ``{"2007/trainval": seeds, ...}``; of images whose seed is in ``difficult`` the first box is so.

    Returns the boxes by name.
    """
    boxes_of = {}
    for part, seeds in parts.items():
        folder, _, name = f"{root}/{part}".rpartition("/")
        stems = [f"{seed:06d}" for seed in seeds]
        for seed, stem in zip(seeds, stems, strict=True):
            pixels, boxes = drawn(seed)
            boxes_of[stem] = boxes
            _write(f"{folder}/JPEGImages/{stem}{suffix}", pixels)
            tree = ElementTree.Element("annotation")
            for n, box in enumerate(boxes):
                is_difficult = int(seed in difficult and n == 0)
                _voc_object(tree, box, difficult=is_difficult, first_pixel=first_pixel)
            _write(f"{folder}/Annotations/{stem}.xml", ElementTree.tostring(tree))
        _write(f"{folder}/ImageSets/Main/{name}.txt", "".join(f"{stem}\n" for stem in stems).encode())
    return boxes_of


def _voc_object(tree, box, *, difficult, first_pixel):
    *corners, label = box
    thing = ElementTree.SubElement(tree, "object")
    ElementTree.SubElement(thing, "name").text = CLASSES[label - 1]
    ElementTree.SubElement(thing, "difficult").text = str(difficult)
    sides = ElementTree.SubElement(thing, "bndbox")
    shifts = {"xmin": first_pixel, "ymin": first_pixel, "xmax": 0, "ymax": 0}
    for (side, shift), corner in zip(shifts.items(), corners, strict=True):
        ElementTree.SubElement(sides, side).text = str(corner + shift)


def coco_content(seeds, *, crowd=()):
    """What is in a file of COCO's; category ids have gaps, and images are not in the order of their ids."""
    annotations = []
    for seed in seeds:
        for n, (left, top, right, bottom, label) in enumerate(drawn(seed)[1]):
            box = [left, top, right - left, bottom - top]
            is_crowd = int(seed in crowd and n == 0)
            annotations.append({"image_id": 100 - seed, "category_id": 7 * label, "bbox": box, "iscrowd": is_crowd})
    return {
        "images": [{"id": 100 - seed, "file_name": f"{seed:06d}.png", "width": 32, "height": 24} for seed in seeds],
        "annotations": annotations,
        "categories": [{"id": 14, "name": "dog"}, {"id": 7, "name": "cat"}],
    }


def fill_coco(root, parts, *, crowd=()):
    """COCO: folders of ``{"train2017": seeds, ...}`` and the file of each in ``annotations``."""
    for part, seeds in parts.items():
        for seed in seeds:
            _write(f"{root}/{part}/{seed:06d}.png", drawn(seed)[0])
        content = json.dumps(coco_content(seeds, crowd=crowd))
        _write(f"{root}/annotations/instances_{part}.json", content.encode())


def _write(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
