"""Campaigns of files beside a labelled training set: people see the files themselves, and its classes."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_al.oracle import LabelFiles, LabelStudio
from tests.helpers.fake_label_studio import TOKEN
from tests.helpers.projects import Data, loop_in, make_trainer

pytest.importorskip("requests")
Image = pytest.importorskip("PIL.Image")

NAMES = ["low", "mid", "high"]


class Files(Dataset):
    """Pictures that are listed, and given to the model as a few numbers."""

    def __init__(self, folder, count):
        self.samples = [(str(folder / f"{number}.png"), number % 3) for number in range(count)]
        self.root = str(folder)
        for number, (path, _) in enumerate(self.samples):
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (5, 3), (number, number, number)).save(path)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return torch.full((4,), float(index), dtype=torch.float64), self.samples[index][1]


class Sorted(Files):
    classes = NAMES


class Beside(Data):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def setup(self, stage):
        super().setup(stage)
        self.known, self.unknown = Sorted(self.folder / "labelled", 6), Files(self.folder / "unlabelled", 20)

    def train_dataloader(self):
        return DataLoader(self.known, batch_size=3, shuffle=True)

    def pool_dataset(self):
        return self.known

    def unlabelled_dataset(self):
        return self.unknown


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def run(folder, oracle):
    loop = loop_in(folder, data=Beside(folder / "files"), oracle=oracle, initial=0, evaluate=None, rounds=1)
    loop.run(make_trainer(folder, max_epochs=1))
    return loop


def own_file(dataset, index):
    return dataset.samples[index][0]


@pytest.mark.parametrize("show", [None, own_file])
def test_people_see_the_file_and_the_classes_of_the_training_set(fake, url, tmp_path, show):
    loop = run(tmp_path, LabelStudio("Files", url=url, files=str(tmp_path / "files"), show=show))
    [project] = fake.projects.values()
    assert [f'value="{name}"' in project["label_config"] for name in NAMES] == [True] * 3
    shown = {task["data"]["image"] for task in fake.tasks.values()}
    assert shown == {f"/data/local-files/?d=unlabelled/{index}.png" for index in loop.pool.pending.tolist()}


def test_files_take_the_classes_of_the_training_set(tmp_path):
    run(tmp_path, LabelFiles(tmp_path / "labels"))
    [question] = (tmp_path / "labels").glob("*.csv")
    keys = [line.split(",")[0] for line in question.read_text().splitlines()[1:]]
    question.write_text("key,label\n" + "".join(f"{key},mid\n" for key in keys))
    loop = loop_in(
        tmp_path,
        data=Beside(tmp_path / "files"),
        oracle=LabelFiles(tmp_path / "labels"),
        initial=0,
        evaluate=None,
        rounds=1,
    )
    loop.run(make_trainer(tmp_path, max_epochs=1), resume=True)
    assert loop.status == "finished"
    assert set(loop.campaign.labels.values()) == {1}
