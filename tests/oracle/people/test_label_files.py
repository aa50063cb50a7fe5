"""People who label in files of a folder, while ``run`` waits."""

import csv
import shutil

import pytest
import torch

from lightning_al import SKIP, ActiveLearningLoop, Campaign, ClassificationTask, LabelFiles, MultiLabelTask
from lightning_al.data.keys import SampleKeys
from lightning_al.oracle.question import OpenQuestion
from lightning_al.tasks import DetectionTask
from tests.helpers.files import FolderData, fill, truth
from tests.helpers.projects import Net, make_trainer


def loop_in(folder, **options):
    oracle = LabelFiles(folder / "labels", **options)
    data = FolderData(str(folder / "pool"))
    settings = {"initial": 4, "query_size": 3, "rounds": 1, "evaluate": None, "dirpath": folder / "c"}
    return ActiveLearningLoop(Net(), data, oracle=oracle, **settings)


def answer(path, who="", only=lambda key: True, say=truth, to=None):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(to or path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["key", "label", "annotator"])
        writer.writeheader()
        for row in rows:
            writer.writerow({"key": row["key"], "annotator": who, "label": say(row["key"]) if only(row["key"]) else ""})
    return [row["key"] for row in rows]


def test_run_waits_for_files(tmp_path):
    fill(tmp_path / "pool", range(20))
    files = tmp_path / "labels"

    def run():
        loop = loop_in(tmp_path)
        loop.run(make_trainer(tmp_path, max_epochs=1), resume=True)
        return loop

    assert run().status == "waiting"
    question = files / "to_label_000.csv"
    before = question.read_bytes()
    keys = answer(question, to=files / "anna.csv", who="anna", only=lambda key: key.startswith("a/"))
    half = run()
    assert question.read_bytes() == before
    assert len(half.pool.labelled) == sum(key.startswith("a/") for key in keys)
    fill(tmp_path / "pool", range(100, 106))  # more samples come, and others have other indices
    answer(question, who="ben", only=lambda key: key.startswith("b/"))
    loop = run()
    assert (loop.status, len(loop.pool.labelled)) == ("waiting", 4)
    answer(files / "to_label_001.csv", who="carl")
    assert run().status == "finished"
    ledger = Campaign.load(tmp_path / "c")
    assert len(ledger.labels) == 7
    assert all(ledger.annotations["classes"][n] == truth(ledger.keys[i]) for i, n in ledger.labels.items())
    answered = [event for event in Campaign.read_events(tmp_path / "c") if event["kind"] == "answered"]
    assert {event["annotator"] for event in answered} == {"anna", "ben", "carl"}


def test_what_is_wrong_in_a_file_takes_nothing(tmp_path):
    fill(tmp_path / "pool", range(8))
    oracle = LabelFiles(tmp_path / "labels")
    loop = ActiveLearningLoop(Net(), FolderData(str(tmp_path / "pool")), initial=2, query_size=1)
    oracle.bind(loop.datamodule.datamodule.pool_dataset(), loop.task)
    oracle.request([5, 1])
    question = tmp_path / "labels" / "to_label_000.csv"
    keys = answer(question, say=lambda key: "cat")
    assert oracle.poll() == {5: 0, 1: 0}
    answer(question, say=lambda key: "cat" if key == keys[0] else "cow")
    with pytest.raises(ValueError, match=r"1 entry .*\n.*to_label_000.csv, line 3: There is no class 'cow'"):
        oracle.poll()
    answer(question, say=lambda key: "skip")
    (tmp_path / "labels" / "anna.csv").write_text(f"key,label\n{keys[0]},dog\nelse,dog\n")
    assert oracle.poll() == {5: 1, 1: SKIP}
    assert (oracle.annotator_of(5), oracle.annotator_of(1)) == ("anna", "files")
    (tmp_path / "labels" / "anna.csv").write_text(f"key,label\n{keys[0]},dog\n{keys[0]},cat\n")
    with pytest.raises(ValueError, match=r"anna.csv, line 3: .* is 'cat', and another in .*line 2"):
        oracle.poll()
    (tmp_path / "labels" / "anna.csv").write_text(f"key,label,annotator\n{keys[0]},dog,anna\n{keys[1]},dog,an")
    with pytest.raises(ValueError, match=r"anna.csv, line 3: 'an' may be the beginning of 'anna'"):
        oracle.poll()
    (tmp_path / "labels" / "anna.csv").unlink()
    oracle.request([5, 1])
    oracle.request([5, 1, 2])
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [*("to_label_000.csv", "to_label_001.csv")]


def test_options():
    with pytest.raises((TypeError, ValueError), match="5 things"):
        LabelFiles(3, format="xls", agreement="best", annotator=None, empty="yes")
    with pytest.raises(RuntimeError, match="no dataset yet"):
        LabelFiles("x").poll()


class Pets:
    classes = ("cat", "catfish", "dog")

    def __len__(self):
        return 4

    def sample_key(self, index):
        return f"{index}.jpg"


def test_files_that_are_being_written(tmp_path):
    oracle = LabelFiles(tmp_path)
    oracle.bind(Pets(), ClassificationTask())
    oracle.request([0, 1])
    (tmp_path / "anna.csv").write_text("key,label\n0.jpg,dog\n1.jpg,cat")
    with pytest.raises(ValueError, match=r"anna.csv, line 3: 'cat' may be the beginning of 'catfish'"):
        oracle.poll()
    (tmp_path / "anna.csv").write_text("key,label\n0.jpg,dog\n1.jpg,catfish\n")
    assert oracle.poll() == {0: 2, 1: 1}


def test_names_in_any_order(tmp_path):
    oracle = LabelFiles(tmp_path, agreement="majority")
    oracle.bind(Pets(), MultiLabelTask())
    oracle.request([0])
    (tmp_path / "anna.csv").write_text("key,label\n0.jpg,dog|cat\n0.jpg,cat|dog\n")
    (tmp_path / "ben.csv").write_text("key,label\n0.jpg,cat|dog\n")
    assert oracle.poll() == {0: [1, 0, 1]}


class Crops:
    """Samples that are cut out of one image have its name."""

    paths = ("a.jpg", "a.jpg", "b.jpg", "c.jpg", "c.jpg")
    values = (0.0, 1.0, 2.0, 3.0, 3.0)  # the last two are alike

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.full((2,), self.values[index]), -1


def question_of(dataset, task, indices, folder):
    names = SampleKeys(dataset, dataset, task).keys(range(len(dataset)))
    return OpenQuestion(indices, dataset=dataset, folder=folder, keys=dict(enumerate(names)))


def test_samples_of_one_name_have_rows_and_labels_of_their_own(tmp_path):
    oracle, task, path = LabelFiles(tmp_path), ClassificationTask(), tmp_path / "to_label_000.csv"
    oracle.bind(Crops(), task)
    oracle.request(question_of(Crops(), task, [0, 1, 2], tmp_path))
    rows = list(csv.DictReader(path.open()))
    assert [(row["index"], row["key"].split(":")[0]) for row in rows] == [
        ("0", "sha256"),
        ("1", "sha256"),
        ("2", "b.jpg"),
    ]
    label_of = {row["key"]: 5 + int(row["index"]) for row in rows}
    answer(path, say=label_of.get)
    assert oracle.poll() == {0: 5, 1: 6, 2: 7}
    (tmp_path / "anna.csv").write_text("key,label\na.jpg,9\n")  # of which of the two?
    oracle.request(question_of(Crops(), task, [0], tmp_path))
    assert oracle.poll() == {0: 5}
    assert not (tmp_path / "to_label_001.csv").exists()


def test_samples_of_one_input_share_a_row_and_its_label(tmp_path):
    oracle, task, path = LabelFiles(tmp_path), ClassificationTask(), tmp_path / "to_label_000.csv"
    oracle.bind(Crops(), task)
    oracle.request(question_of(Crops(), task, [3, 1, 4], tmp_path))
    rows = list(csv.DictReader(path.open()))
    assert [row["index"] for row in rows] == ["3", "1"]
    answer(path, say={rows[0]["key"]: 7, rows[1]["key"]: 8}.get)
    assert oracle.poll() == {3: 7, 4: 7, 1: 8}


class Streets:
    classes = ("background", "car")
    paths = ("a.jpg", "b.jpg")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.zeros(3, 8, 8), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


@pytest.mark.parametrize(("format", "question"), [("coco", "to_label_000.json"), ("voc", "to_label_000")])
def test_an_image_without_boxes_is_said_by_a_file_of_ones_own(tmp_path, format, question):
    task = DetectionTask()

    def answers(**options):
        oracle = LabelFiles(tmp_path, format=format, **options)
        oracle.bind(Streets(), task)
        oracle.request([0, 1])
        return {index: len(said["boxes"]) for index, said in oracle.poll().items()}, oracle

    assert answers(empty=True)[0] == {}  # the question itself, which nobody looked at yet
    path = tmp_path / question
    own = path.with_stem("anna")
    shutil.copytree(path, own) if path.is_dir() else shutil.copy(path, own)
    assert answers()[0] == {}
    found, oracle = answers(empty=True)
    assert found == {0: 0, 1: 0}
    assert oracle.annotator_of(1) == "anna"
