"""Campaigns and questions beside a real Label Studio, with a person at its HTTP interface."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_al import SKIP, Campaign, MultiLabelTask
from lightning_al.oracle import AwaitTell, Unreachable
from lightning_al.oracle.people.label_studio.memory import FILE
from tests.helpers.label_studio_server import TOKEN, Person
from tests.helpers.pair_task import PairTask
from tests.helpers.projects import make_data, make_trainer
from tests.oracle.people.label_studio.asking import Asking
from tests.oracle.people.label_studio.person_campaign import NAMES, draw, loop

pytest.importorskip("requests")
pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.slow


def start(server, folder, kill_at=None):
    """Run a process of the campaign; what it came to, or None if it was killed."""
    module = "tests.oracle.people.label_studio.person_campaign"
    arguments = [str(folder), server.url, str(server.files), *([kill_at] if kill_at else [])]
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == (-9 if kill_at else 0), done.stderr[-3000:]
    return None if kill_at else json.loads(done.stdout.splitlines()[-1])


def choice(name):
    return [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [name]}}]


def truth(key):
    return int(make_data()[1][number(key)])


def number(key):
    return int(key.removeprefix("pool/").removesuffix(".png"))


def answer_all(person, project, skip=()):
    """Answer what the server hands out, in its order; the keys in that order."""
    keys = []
    while (task := person.next_task(project)) is not None:
        keys.append(task["data"]["key"])
        if len(keys) - 1 in skip:
            person.skip(task)
        else:
            person.answer(task, choice(NAMES[truth(keys[-1])]))
    return keys


def test_a_campaign_of_people_through_kills_and_restarts(server, tmp_path):
    draw(server.files)
    folder, person = tmp_path / "asked", Person(server.url)
    start(server, folder, kill_at="/import")  # ours, while they take the first tasks in
    assert start(server, folder)["status"] == "waiting"
    [project] = {task["project"] for task in person.tasks(json.loads((folder / "c" / FILE).read_text())["project"])}
    orders = [answer_all(person, project)]
    start(server, folder, kill_at="updated_at")  # ours, in the middle of a poll
    assert start(server, folder)["status"] == "waiting"
    [wrong, *_] = [task for task in person.tasks(project) if not task["annotations"]]
    mistake = person.answer(wrong, choice(NAMES[(truth(wrong["data"]["key"]) + 1) % 3]))
    server.stop()  # theirs
    assert start(server, folder)["status"] == "waiting"
    server.start()
    person.edit(mistake, choice(NAMES[truth(wrong["data"]["key"])]))  # before anybody took it
    orders.append([wrong["data"]["key"], *answer_all(person, project, skip=[1])])
    skipped = orders[1][2]
    start(server, folder, kill_at="/import")
    assert start(server, folder)["status"] == "waiting"
    orders.append(answer_all(person, project))
    assert start(server, folder)["status"] == "waiting"
    orders.append(answer_all(person, project))
    asked = start(server, folder)
    assert asked["status"] == "finished"

    told = loop(tmp_path / "told", str(server.files), AwaitTell())
    for _ in orders:
        told.run(make_trainer(tmp_path, max_epochs=1), resume=True)
        pending = told.pool.pending.tolist()
        labels = {i: int(make_data()[1][i]) for i in pending if i != number(skipped)}
        told.tell(list(labels), list(labels.values()))
        told.tell([i for i in pending if i not in labels], [SKIP for i in pending if i not in labels])
    told.run(make_trainer(tmp_path, max_epochs=1), resume=True)
    assert asked["history"] == [[r.round, r.labelled, r.picked, r.metrics, r.spent] for r in told.history]
    assert len(asked["history"]) == 4
    campaign = Campaign.load(folder / "c")
    assert campaign.labels == told.campaign.labels
    assert campaign.pool.labelled.tolist() == told.pool.labelled.tolist()

    picked = [row[2] for row in asked["history"][:-1]]
    assert [[number(key) for key in keys] for keys in orders[1:]] == picked  # best first
    tasks = person.tasks(project)
    assert sorted(task["data"]["key"] for task in tasks) == sorted(key for keys in orders for key in keys)
    versions = {task["data"]["key"]: [p["model_version"] for p in task["predictions"]] for task in tasks}
    assert [versions[key] for keys in orders for key in keys] == [[]] * 6 + [[f"round {i // 3}"] for i in range(9)]
    image = person.session.get(server.url + tasks[0]["data"]["image"], timeout=60)
    assert image.headers["Content-Type"] == "image/png"


class Drawn(PairTask):
    """A task of boxes or masks, as people say them."""


def picture(dataset, index):
    return torch.full((30, 40), index, dtype=torch.uint8)


BOXES = {"boxes": [[4.0, 3.0, 20.0, 15.0], [0.0, 0.0, 40.0, 30.0]], "labels": [1, 0]}
MASK = np.add.outer(np.arange(30), np.arange(40)) % 3


@pytest.mark.parametrize(
    ("kind", "task", "predicted", "options"),
    [
        ("classes", MultiLabelTask(), [1, 0, 1], {}),
        ("boxes", Drawn(), BOXES, {}),
        ("mask", Drawn(), MASK.tolist(), {}),
        ("mask", Drawn(), MASK.tolist(), {"unpainted": "rat"}),
    ],
)
def test_what_the_model_predicts_comes_back_when_it_is_accepted(
    server, tmp_path, monkeypatch, kind, task, predicted, options
):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    title = f"{kind} {len(options)}"
    shown = {} if kind == "classes" else {"show": picture}
    asking = Asking(tmp_path, server.url, task=task, project=title, kind=kind, **shown, **options)
    asking.oracle.check()
    assert asking.ask([1, 2], round=0, predictions={1: (predicted, 0.5), 2: (predicted, 0.25)}) == {}
    asking.oracle.check()  # the project that it made fits
    person = Person(server.url)
    project = asking.memory()["project"]
    opened = person.next_task(project)
    assert opened["data"]["key"] == "p1"
    [prediction] = opened["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("round 0", 0.5)
    person.answer(opened, prediction["result"])
    person.skip(person.next_task(project))
    answers = asking.ask([1, 2], round=0)
    assert answers[2] is SKIP
    if kind == "boxes":
        assert answers[1]["labels"] == predicted["labels"]
        assert np.allclose(answers[1]["boxes"], predicted["boxes"])
    else:
        assert answers[1] == predicted
    assert asking.oracle.annotator_of(1) == "person@lab.org"


def test_what_goes_wrong(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
    with pytest.raises(PermissionError, match="refuses the token"):
        Asking(tmp_path, server.url).oracle.check()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    with pytest.raises(ValueError, match="no project 999"):
        Asking(tmp_path, server.url, project=999).oracle.check()
    asking = Asking(tmp_path, server.url, project="Short of life")
    asking.ask([1])
    Person(server.url).call("DELETE", f"/api/projects/{asking.memory()['project']}/")
    for indices in ([1], [1, 2]):
        with pytest.raises(RuntimeError, match=r"is not at .* any more"):
            asking.ask(indices)
    with pytest.raises(Unreachable):
        Asking(tmp_path, "http://127.0.0.1:9").oracle.check()


def test_a_thousand_tasks(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    asking = Asking(tmp_path, server.url, project="A thousand")
    predictions = {i: (i % 3, 0.5) for i in range(1000)}
    asking.ask(list(range(1000)), round=0, predictions=predictions)
    keys = [task["data"]["key"] for task in Person(server.url).tasks(asking.memory()["project"])]
    assert keys == [f"p{i}" for i in range(1000)]


def test_a_personal_token(server, tmp_path, monkeypatch):
    person = Person(server.url)
    settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    person.call("POST", "/api/jwt/settings", json=settings)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", person.call("POST", "/api/token/")["token"])
    assert Asking(tmp_path, server.url, project="By a personal token").ask([1]) == {}
