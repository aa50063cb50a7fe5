"""Whole campaigns beside the small server of the tests."""

import pytest
import torch
from torch.utils.data import Dataset

from lightning_al import Campaign
from lightning_al.oracle import LabelStudio
from lightning_al.oracle.people.label_studio.memory import FILE
from tests.helpers.fake_label_studio import TOKEN, choices
from tests.helpers.projects import Data, loop_in, make_data, make_trainer, picks

pytest.importorskip("requests")

NAMES = ["low", "mid", "high"]


class Rows(Dataset):
    classes = NAMES

    def __init__(self, n):
        self.x, self.y = make_data(n)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], int(self.y[index])

    def sample_key(self, index):
        return f"row {index}"


class Named(Data):
    def setup(self, stage):
        super().setup(stage)
        self.train = Rows(self.n)


def as_text(dataset, index):
    return str(dataset[index][0].tolist())


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def run(folder, url, **options):
    loop = loop_in(folder, data=Named(), oracle=LabelStudio("Rows", url=url, show=as_text), **options)
    loop.run(make_trainer(folder, max_epochs=1), resume=True)
    return loop


def people_answer(fake, wrong=()):
    """Everybody's open tasks, as they truly are."""
    for task in fake.tasks.values():
        row = int(task["data"]["key"].removeprefix("row "))
        if not task["annotations"]:
            label = int(make_data()[1][row])
            fake.choose(task["data"]["key"], NAMES[(label + 1) % 3 if row in wrong else label])


def test_a_campaign_is_that_of_labels_told_directly(fake, url, tmp_path):
    loop, starts = run(tmp_path, url, rounds=1), 1
    while loop.status == "waiting":
        people_answer(fake)
        loop, starts = run(tmp_path, url, rounds=1), starts + 1
    assert starts == 3
    told = loop_in(tmp_path / "told", data=Named(), rounds=1)
    told.run(make_trainer(tmp_path / "told", max_epochs=1))
    assert picks(loop.history) == picks(told.history)
    assert [r.metrics for r in loop.history] == [r.metrics for r in told.history]
    for name in ("labelled", "pending"):
        assert torch.equal(getattr(loop.pool, name), getattr(told.pool, name))
    rounds = [[p["model_version"] for p in task["predictions"]] for task in fake.tasks.values()]
    assert rounds == [[]] * 8 + [["round 0"]] * 4
    assert next(iter(fake.projects.values()))["model_version"] == "round 0"
    events = [e for e in Campaign.read_events(loop.dirpath) if e["kind"] == "answered"]
    assert {e["annotator"] for e in events} == {"anna@lab.org"}
    assert TOKEN not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_correction_trains_the_model_that_it_would_have(fake, url, tmp_path):
    run(tmp_path, url, rounds=1)
    first = int(next(iter(fake.tasks.values()))["data"]["key"].removeprefix("row "))
    people_answer(fake, wrong=[first])
    wrong = run(tmp_path, url, rounds=1)
    assert wrong.campaign.labels[first] != int(make_data()[1][first])
    fake.edit(f"row {first}", choices(NAMES[int(make_data()[1][first])]))
    people_answer(fake)
    right = run(tmp_path, url, rounds=1)
    assert right.status == "finished"
    assert right.campaign.labels == {i: int(make_data()[1][i]) for i in right.campaign.labels}
    before = len(Campaign.read_events(right.dirpath))
    assert run(tmp_path, url, rounds=1).history == right.history
    assert len(Campaign.read_events(right.dirpath)) == before  # and nothing is written twice


def test_a_server_that_is_down_keeps_the_campaign_waiting(fake, url, tmp_path):
    run(tmp_path, url)
    with pytest.warns(UserWarning, match=r"at http://127.0.0.1:9 does not answer.*The campaign is intact, and waits"):
        loop = run(tmp_path, "http://127.0.0.1:9")
    assert loop.status == "waiting"
    people_answer(fake)
    assert len(run(tmp_path, url).history) == 1


def test_what_fails_at_once_leaves_no_campaign(fake, url, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "wrong")
    with pytest.raises(PermissionError, match="refuses the token"):
        run(tmp_path, url)
    assert not Campaign.exists(tmp_path / "c")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    run(tmp_path, url)
    fake.remove_project(1)
    with pytest.raises(RuntimeError, match="Project 1 is not at"):
        run(tmp_path, url)
    (tmp_path / "c" / FILE).unlink()
    assert len(run(tmp_path, url).pool.pending) == 8
    assert len(fake.tasks) == 8
