"""A Label Studio oracle and its questions, without a loop around them."""

import json

from torch.utils.data import Dataset

from lightning_al import ClassificationTask
from lightning_al.oracle import LabelStudio, OpenQuestion, Prediction
from lightning_al.oracle.people.label_studio.memory import FILE
from tests.helpers.fake_label_studio import TOKEN, choices

NAMES = ["cat", "dog", "rat"]


class Pictures(Dataset):
    """Samples that are shown as texts, called p0, p1, ..."""

    classes = NAMES

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return f"picture {index}", 0

    def sample_key(self, index):
        return f"p{index}"


class Asking:
    """One oracle of a campaign in a folder; another one is another process."""

    def __init__(self, folder, url, monkeypatch=None, task=None, dataset=None, project="Animals", **options):
        if monkeypatch is not None:
            monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        self.folder, self.dataset = folder, Pictures() if dataset is None else dataset
        self.oracle = LabelStudio(project, url=url, **options)
        self.oracle.bind(self.dataset, ClassificationTask() if task is None else task)

    def question(self, indices, known=(), round=-1, predictions=None, **options):
        keys = {index: f"p{index}" for index in [*known, *indices]}
        of_index = {index: Prediction(*prediction) for index, prediction in (predictions or {}).items()}
        options |= {"keys": keys, "round": round, "predict": lambda: of_index}
        return OpenQuestion(indices, dataset=self.dataset, folder=self.folder, **options)

    def ask(self, indices, acknowledge=True, **options):
        """Ask, poll, and take the answers, as one start of the loop does."""
        self.oracle.request(self.question(indices, **options))
        answers = self.oracle.poll()
        if acknowledge:
            self.oracle.acknowledge()
        return answers

    def memory(self):
        return json.loads((self.folder / FILE).read_text())


def keys_of(fake):
    return [task["data"]["key"] for task in fake.tasks.values()]


def chosen(*names):
    return [{**result, "to_name": "text"} for result in choices(*names)]
