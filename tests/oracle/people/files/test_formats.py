"""Boxes and masks in files, as other programs read and write them."""

import csv
import io
import json
import tracemalloc
from xml.etree import ElementTree

import numpy as np
import pytest

from lightning_al import SKIP
from lightning_al.campaign import Problems
from lightning_al.oracle import Entry, read_labels, write_labels
from lightning_al.oracle.people.files.entries import understood
from lightning_al.oracle.people.files.formats import format_of
from lightning_al.tasks.annotations import Boxes, Mask
from tests.helpers.told import asked, said, tell

KEYS = ["a/1.jpg", "a/1.png", "b/\u00fc 2.jpg"]
CLASSES = ["background", "cat", "a dog"]
BOXES = Boxes([[0, 1, 5.5, 4], [2, 2, 3, 3]], ["cat", "a dog"], size=(10, 8))
MASK = Mask([[0, 1, 255], [2, 254, 1]])


def entries(*annotations, size=(10, 8)):
    return [Entry(key, each, size=size) for key, each in zip(KEYS, annotations, strict=True)]


def ledger(path, kind):
    return asked(path, KEYS, {"kind": kind, "classes": CLASSES, "count": 3})


@pytest.mark.parametrize("name", ["boxes.json", "xml"])
def test_boxes_come_back(tmp_path, name):
    path = tmp_path / name
    format = format_of(path, kind="boxes")
    write_labels(path, entries(BOXES, SKIP, None), format, classes=CLASSES)
    campaign = ledger(tmp_path / "c", "boxes")
    told = tell(campaign, path)
    assert (told.labelled, told.skipped, told.blank) == (1, 1, 1)
    assert said(campaign) == {KEYS[0]: Boxes(BOXES.boxes, BOXES.labels), KEYS[1]: SKIP, KEYS[2]: None}
    # an image without boxes may be labelled so
    assert read_labels(path, empty=True).entries[2].said == Boxes([], [], size=(10, 8))


def test_boxes_in_json_lines(tmp_path):
    path = tmp_path / "boxes.jsonl"
    write_labels(path, entries(BOXES, SKIP, None))
    campaign = ledger(tmp_path / "c", "boxes")
    tell(campaign, path)
    assert said(campaign)[KEYS[0]] == Boxes(BOXES.boxes, BOXES.labels)


def test_cocos_own_reader_reads_ours(tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    write_labels(tmp_path / "boxes.json", entries(BOXES, None, None), classes=CLASSES)
    read = coco.COCO(tmp_path / "boxes.json")
    image = next(image for image in read.dataset["images"] if image["file_name"] == KEYS[0])
    drawn = read.loadAnns(read.getAnnIds(imgIds=[image["id"]]))
    assert [each["bbox"] for each in drawn] == [[0, 1, 5.5, 3], [2, 2, 1, 1]]
    assert [read.cats[each["category_id"]]["name"] for each in drawn] == ["cat", "a dog"]


def test_torchvisions_reader_reads_our_xml(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    write_labels(tmp_path / "xml", entries(BOXES, None, None), "voc")
    files = sorted(path.relative_to(tmp_path / "xml").as_posix() for path in (tmp_path / "xml").rglob("*.xml"))
    assert files == ["a/1.jpg.xml", "a/1.png.xml", "b/\u00fc 2.xml"]
    root = ElementTree.parse(tmp_path / "xml" / files[0]).getroot()
    read = datasets.VOCDetection.parse_voc_xml(root)["annotation"]
    assert [thing["name"] for thing in read["object"]] == ["cat", "a dog"]
    assert read["object"][1]["bndbox"] == {"xmin": "2", "ymin": "2", "xmax": "3", "ymax": "3"}


def test_xml_of_a_tool_that_knows_no_folders(tmp_path):
    xml = (
        "<annotation><folder>b</folder><filename>\u00fc 2.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin>"
        "<ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
    )
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "77.xml").write_text(xml)
    campaign = ledger(tmp_path / "c", "boxes")
    tell(campaign, tmp_path / "xml")
    assert said(campaign)[KEYS[2]] == Boxes([[1, 2, 3, 4]], ["cat"])


def coco(**changes):
    data = {
        "images": [{"id": 1, "file_name": KEYS[0], "width": 10, "height": 8}],
        "categories": [{"id": 4, "name": "cat"}],
        "annotations": [{"id": 9, "image_id": 1, "category_id": 4, "bbox": [1, 1, 2, 2]}],
    }
    return json.dumps({**data, **changes})


def annotation(**changes):
    return [{"id": 9, "image_id": 1, "category_id": 4, "bbox": [1, 1, 2, 2], **changes}]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (coco()[:-20], r"line 1: .*is the file whole\?"),
        ("[]", "has no list 'images'"),
        (coco(annotations=annotation(image_id=7)), "annotation 9: there is no image 7"),
        (coco(annotations=annotation(category_id=7)), "annotation 9: there is no category 7"),
        (coco(annotations=annotation(bbox=[1, 1])), "annotation 9: `bbox` must be left, top, width and height"),
        (coco(annotations=annotation(bbox=[1, 1, -2, 2])), r"image 1 .*: .*right not before the left"),
        (coco(annotations=annotation(bbox=[1, 1, 20, 2])), r"image 1 .*: .*reaches out of the image of 10 x 8"),
        (coco(categories=[{"id": 4, "name": "cow"}]), r"image 1 .*: There is no class 'cow'"),
        (coco(images=[{"id": 1, "file_name": "else.jpg"}]), r"image 1 .*: none of the 1 samples"),
        (coco(images=[{"id": 1}]), r"image 1 .*: `file_name` must be a text"),
        (coco(categories=["cat", "dog"]), r"'categories' of COCO's JSON are objects, got 'cat'"),
        (coco(images=[KEYS[0]]), r"'images' of COCO's JSON are objects"),
        (coco(annotations=[[1, 2]]), r"'annotations' of COCO's JSON are objects, got \[1, 2\]"),
        (coco(images=[{"id": [1], "file_name": KEYS[0]}]), r"each of 'images' needs a number as `id`, got \[1\]"),
        (coco(images=[{"id": 1, "file_name": key} for key in KEYS[:2]]), r"two of 'images' have the id 1"),
        (coco(annotations=annotation(image_id=[1])), r"annotation 9: there is no image \[1\]"),
        (coco(annotations=annotation(bbox=[1, 1, 10**400, 2])), "annotation 9: int too large"),
        (coco(images=[{"id": 1, "file_name": KEYS[0], "width": 10**400, "height": 8}]), "sizes of boxes are numbers"),
    ],
)
def test_coco_files_that_are_wrong(tmp_path, text, what):
    (tmp_path / "boxes.json").write_text(text)
    campaign = ledger(tmp_path / "c", "boxes")
    with pytest.raises(ValueError, match=what):
        tell(campaign, tmp_path / "boxes.json")
    assert set(said(campaign).values()) == {None}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<annotation>", "is the file whole"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "unknown encoding"),
        ("<html></html>", "must be `annotation`"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>", "declares entities"),
        ("<annotation><object><name>cat</name></object></annotation>", "an object needs xmin"),
    ],
)
def test_xml_that_is_wrong(tmp_path, text, what):
    (tmp_path / "xml" / "a").mkdir(parents=True)
    (tmp_path / "xml" / "a" / "1.jpg.xml").write_text(text)
    with pytest.raises(Problems, match=f"1.jpg.xml: .*{what}"):
        tell(ledger(tmp_path / "c", "boxes"), tmp_path / "xml")


def test_masks_come_back(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    write_labels(tmp_path / "masks", entries(MASK, Mask(np.full((8, 10), 7)), None), kind="mask")
    campaign = asked(tmp_path / "c", KEYS, {"kind": "mask", "classes": None, "count": None})
    told = tell(campaign, tmp_path / "masks")
    assert (told.labelled, told.blank) == (2, 1)
    assert said(campaign) == {KEYS[0]: MASK, KEYS[1]: Mask(np.full((8, 10), 7)), KEYS[2]: None}
    # as any other program sees it: an indexed image in Pascal VOC's colours
    with image_module.open(tmp_path / "masks" / "a" / "1.jpg.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((0, 1)) == (0, 128, 0)
        assert np.array_equal(np.array(image), MASK.values)
    # grey ones are taken too, colours are not
    image_module.fromarray(np.uint8([[3]])).save(tmp_path / "masks" / "b" / "\u00fc 2.png")
    tell(campaign, tmp_path / "masks")
    assert said(campaign)[KEYS[2]] == Mask([[3]])
    image_module.new("RGB", (2, 2)).save(tmp_path / "masks" / "b" / "\u00fc 2.png")
    with pytest.raises(Problems, match=r"2.png: .*got colours \(RGB\)"):
        tell(campaign, tmp_path / "masks")
    (tmp_path / "masks" / "b" / "\u00fc 2.png").write_bytes(b"\x89PNG")
    with pytest.raises(Problems, match=r"2.png: a mask is a PNG file"):
        tell(campaign, tmp_path / "masks")


def test_masks_in_coco_s_json(tmp_path):
    mask = Mask([[0, 1, 255], [2, 2, 1]])
    given = entries(mask, SKIP, None, size=(3, 2))
    write_labels(tmp_path / "masks.json", given, classes=CLASSES, kind="mask")
    campaign = ledger(tmp_path / "c", "mask")
    told = tell(campaign, tmp_path / "masks.json")
    assert (told.labelled, told.skipped, told.blank) == (1, 1, 1)
    assert said(campaign) == {KEYS[0]: mask, KEYS[1]: SKIP, KEYS[2]: None}
    # as boxes they are those around the areas
    boxes = Boxes([[0, 0, 1, 1], [1, 0, 3, 2], [0, 1, 2, 2]], ["background", "cat", "a dog"])
    assert understood(read_labels(tmp_path / "masks.json").entries[0].said, "boxes", CLASSES).boxes == boxes.boxes
    write_labels(tmp_path / "numbers.json", entries(mask, None, None, size=None), kind="mask")
    assert understood(read_labels(tmp_path / "numbers.json").entries[0].said, "mask", None) == mask


def test_areas_in_coco_s_json_that_are_none(tmp_path):
    write_labels(tmp_path / "masks.json", entries(Mask([[0, 1]]), None, None), classes=CLASSES, kind="mask")
    whole = json.loads((tmp_path / "masks.json").read_text())
    campaign = ledger(tmp_path / "c", "mask")
    for harm, what in (
        (lambda area: area.pop("segmentation"), "'cat' has a box and no `segmentation`"),
        (lambda area: area.update(segmentation=[[0, 1, 2]]), "must be polygons or runs"),
        (lambda area: area["segmentation"].update(size=[3, 3]), r"of an image of \[3, 3\] pixels"),
        (lambda area: area["segmentation"].update(counts=[1]), "runs of an area are 1 pixels, and the image has 80"),
        (lambda area: area["segmentation"].update(counts="0!"), "cannot be in the packed runs"),
        (lambda area: area["segmentation"].update(counts=[-1, 81]), "must be lengths of runs"),
    ):
        wrong = json.loads(json.dumps(whole))
        for area in wrong["annotations"]:
            if "segmentation" in area:
                area["segmentation"]["size"], area["segmentation"]["counts"] = [8, 10], [80]
        harm(wrong["annotations"][1])
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(Problems, match=rf"wrong.json, image 1 \(.*\): .*{what}"):
            tell(campaign, tmp_path / "wrong.json")


def test_masks_of_classes_that_there_are_not(tmp_path):
    write_labels(tmp_path / "masks", entries(Mask([[0, 2, 255]]), Mask([[0, 3, 1]]), None), kind="mask")
    campaign = ledger(tmp_path / "c", "mask")
    with pytest.raises(Problems, match=r"1.png.png: 3 in a mask is no class: there are 0 to 2"):
        tell(campaign, tmp_path / "masks")
    assert not (tmp_path / "c" / "labels").exists()
    assert tell(campaign, tmp_path / "masks", partial=True).labelled == 1
    assert said(campaign)[KEYS[0]] == Mask([[0, 2, 255]])
    again = tell(campaign, tmp_path / "masks", partial=True)
    assert (again.labelled, again.unchanged) == (0, 1)


def test_masks_of_many_classes(tmp_path):
    mask = Mask([[0, 255, 999], [65535, 256, 1]], not_said=65535)
    many = [str(number) for number in range(1000)]
    write_labels(tmp_path / "masks", entries(mask, None, None), classes=many, kind="mask")
    campaign = asked(tmp_path / "c", KEYS, {"kind": "mask", "classes": many, "count": 1000})
    told = tell(campaign, tmp_path / "masks")
    assert (told.labelled, told.blank) == (1, 2)
    assert said(campaign)[KEYS[0]] == mask


def test_many_masks_are_read_without_their_pixels(tmp_path):
    count, side = 100, 128
    masks = [Mask(np.full((side, side), number)) for number in range(count)]
    write_labels(tmp_path / "masks", [Entry(f"{n}.jpg", mask) for n, mask in enumerate(masks)], kind="mask")
    keys = [f"{n}.jpg" for n in range(count)]
    campaign = asked(tmp_path / "c", keys, {"kind": "mask", "classes": None, "count": count})
    tracemalloc.start()
    told = tell(campaign, tmp_path / "masks")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.labelled == count
    assert peak < count * side * side / 2  # a byte for each pixel would be twice as much


def test_a_damaged_mask_is_told_again(tmp_path):
    write_labels(tmp_path / "masks", entries(Mask([[0, 2, 255]]), None, None), kind="mask")
    campaign = ledger(tmp_path / "c", "mask")
    tell(campaign, tmp_path / "masks")
    [file] = (tmp_path / "c" / "labels").iterdir()
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{file.name} is damaged"):
        said(campaign)
    tell(campaign, tmp_path / "masks")
    assert said(campaign)[KEYS[0]] == Mask([[0, 2, 255]])


def test_formats_are_told_by_names(tmp_path):
    assert [format_of(f"x{suffix}") for suffix in (".CSV", ".tsv", ".ndjson", ".json", ".xml")] == [
        *("csv", "csv", "jsonl", "coco", "voc")
    ]
    assert (format_of("new", kind="mask"), format_of("new", kind="boxes"), format_of("x", "png")) == (
        *("png", "voc", "png"),
    )
    for wrong in ({"path": "labels.xlsx"}, {"path": "new", "kind": "class"}, {"path": "a.csv", "format": "excel"}):
        with pytest.raises(ValueError, match="csv"):
            format_of(**wrong)


@pytest.mark.parametrize(
    ("name", "what", "kind"),
    [
        ("x.csv", BOXES, "boxes"),
        ("x.csv", MASK, None),
        ("x.jsonl", MASK, None),
        ("x.json", "cat", None),
        ("voc", "cat", "boxes"),
        ("png", BOXES, "mask"),
        ("png", Mask([[65536]]), "mask"),
    ],
)
def test_formats_without_room(tmp_path, name, what, kind):
    with pytest.raises(ValueError, match="room"):
        write_labels(tmp_path / name, [Entry("k", what)], kind=kind)
    assert not list(tmp_path.rglob("*.*"))


def test_files_stay_in_their_folder(tmp_path):
    for key in ("../x.jpg", "/etc/x.jpg", "a\x00b"):
        with pytest.raises(ValueError, match="No file in a folder of labels"):
            write_labels(tmp_path / "voc", [Entry(key, BOXES)], kind="boxes")


@pytest.mark.parametrize("name", ["asked.csv", "asked.tsv", "asked.jsonl"])
def test_texts_are_there_to_read_and_passed_over(tmp_path, name):
    texts = ['said "so", then\nleft; and more', None, "=1+1\tläuft"]
    asked_for = [Entry(key, text=text) for key, text in zip(KEYS, texts, strict=True)]
    write_labels(tmp_path / name, asked_for, classes=CLASSES)
    content = (tmp_path / name).read_text()
    if name == "asked.jsonl":
        assert [json.loads(line).get("text") for line in content.splitlines()] == texts
    else:
        delimiter = "\t" if name == "asked.tsv" else ","
        table = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter))
        assert table == [["key", "text", "label", "annotator"], *([k, t or "", "", ""] for k, t in zip(KEYS, texts))]
    read = read_labels(tmp_path / name)
    assert [(entry.key, entry.said in (None, "")) for entry in read.entries] == [(key, True) for key in KEYS]


@pytest.mark.parametrize(
    ("value", "kind"), [("1" * 400, "number"), ("NaN", "number"), ("1e400", "number"), ("1" * 400, "class")]
)
def test_numbers_in_lines_that_are_none(tmp_path, value, kind):
    (tmp_path / "x.jsonl").write_text(f'{{"key": "a.jpg", "label": {value}}}\n')
    [entry] = read_labels(tmp_path / "x.jsonl").entries
    with pytest.raises(ValueError, match=r"no finite number|no class"):
        understood(entry.said, kind, ["cat"])
