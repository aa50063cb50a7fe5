"""The oracle beside a small server of the tests: what is sent, what comes back, and what goes wrong."""

import os
import subprocess
import sys

import pytest
import torch

from lightning_al import SKIP, MultiLabelTask
from lightning_al.oracle import Unreachable
from lightning_al.oracle.people.label_studio import sending
from lightning_al.oracle.people.label_studio.memory import FILE
from tests.helpers.fake_label_studio import TOKEN
from tests.oracle.people.label_studio.asking import chosen, keys_of

requests = pytest.importorskip("requests")


# -- sending -----------------------------------------------------------------------------------------------------------


def test_questions_become_tasks_best_first_and_answers_labels(fake, make):
    asking = make()
    assert asking.ask([7, 2, 5]) == {}
    assert keys_of(fake) == ["p7", "p2", "p5"]
    [project] = fake.projects.values()
    assert (project["title"], project["sampling"]) == ("Animals", "Sequential sampling")
    assert next(task["data"]["text"] for task in fake.tasks.values()) == "picture 7"
    fake.choose("p2", "dog")
    fake.choose("p7", "rat", by=2)
    assert asking.ask([7, 2, 5]) == {7: 2, 2: 1}
    assert [asking.oracle.annotator_of(i) for i in (7, 2)] == ["ben@lab.org", "anna@lab.org"]
    assert asking.ask([5], known=[7, 2]) == {}  # each once


def test_several_labels(fake, make):
    asking = make(task=MultiLabelTask())
    asking.ask([1, 2])
    fake.choose("p1", "cat", "rat")
    fake.annotate("p2", [])  # none of them
    assert asking.ask([1, 2]) == {1: [1, 0, 1], 2: [0, 0, 0]}


def test_predictions_are_shown_with_their_confidence_a_version_a_round(fake, make):
    asking = make()
    asking.ask([1, 2])
    assert all(not task["predictions"] for task in fake.tasks.values())
    asking.ask([3, 4], round=0, predictions={3: (1, 0.5), 4: (torch.tensor(2), 0.75)})
    shown = [task["predictions"] for task in fake.tasks.values()][2:]
    assert shown[0] == [{"model_version": "round 0", "score": 0.5, "result": chosen("dog")}]
    assert [p["result"][0]["value"]["choices"] for [p] in shown] == [["dog"], ["rat"]]
    asking.ask([5], round=1, predictions={5: (0, 0.25)})
    [project] = fake.projects.values()
    assert project["model_version"] == "round 1"


def test_a_thousand_tasks_take_ten_requests_and_nothing_new_takes_one(fake, make):
    asking = make()
    asking.ask(list(range(1000)))
    assert len(fake.tasks) == 1000
    assert fake.count("POST", "/import") == 10
    assert len(fake.log) <= 15  # the project, looked for, made and looked at; and a poll
    for process in (asking, make()):
        fake.log.clear()
        process.ask(list(range(1000)))
        assert [(method, path) for method, path, _ in fake.log] == [("GET", "/api/tasks/")]


def test_files_that_the_server_reads(fake, make, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    (tmp_path / "pool").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "pool/1.png")
    path = tmp_path / "pool/1.png"
    asking = make(files=str(tmp_path), show=lambda dataset, index: path)
    asking.ask([1, 2])
    asking.ask([3])
    assert {task["data"]["image"] for task in fake.tasks.values()} == {"/data/local-files/?d=pool/1.png"}
    assert [storage["path"] for storage in fake.storages] == [str(tmp_path / "pool")]


# -- nothing twice, nothing lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
def test_a_connection_that_ends_while_tasks_are_sent(fake, make, stored, monkeypatch):
    monkeypatch.setattr(sending, "PATIENCE", 0.0)

    def end(method, path):
        if path.endswith("/import"):
            raise ConnectionAbortedError

    fake.after, fake.before = (end, fake.before) if stored else (fake.after, end)
    with pytest.raises(Unreachable, match="does not answer"):
        make().ask(list(range(150)))
    fake.after = fake.before = lambda method, path: None
    make().ask(list(range(150)))
    assert sorted(keys_of(fake)) == sorted(f"p{i}" for i in range(150))


def test_what_a_server_is_still_taking_in_is_waited_for(fake, make, monkeypatch):
    monkeypatch.setattr(sending, "_BETWEEN_LOOKS", 0.0)
    late = []

    def hold(method, path):
        if path.endswith("/import"):
            late.append(True)
            raise ConnectionAbortedError

    fake.before = hold
    with pytest.raises(Unreachable):
        make().ask([1, 2])
    looks = []

    def arrive(method, path):
        looks.append(path)
        if looks.count("/api/tasks/") == 3 and not fake.tasks:  # at the third look
            fake.take_in(1, [{"data": {"text": "t", "key": key}} for key in ("p1", "p2")])

    fake.before = arrive
    make().ask([1, 2])
    assert keys_of(fake) == ["p1", "p2"]


KILLED = """
import os, signal, sys
from pathlib import Path
import requests
from tests.oracle.people.label_studio.asking import Asking

plain, left = requests.Session.request, [int(sys.argv[3])]

def request(self, *args, **options):
    answer = plain(self, *args, **options)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

requests.Session.request = request
Asking(Path(sys.argv[1]), sys.argv[2]).ask(list(range(120)), round=0, predictions={i: (0, 0.5) for i in range(120)})
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 8))
def test_a_kill_after_any_request(fake, make, url, tmp_path, at):
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), url, str(at)], env=environment, check=False)
    assert done.returncode == (-9 if at < 8 else 0)
    predictions = dict.fromkeys(range(120), (0, 0.5))
    asking = make()
    asking.ask(list(range(120)), round=0, predictions=predictions)
    assert keys_of(fake) == [f"p{i}" for i in range(120)]
    assert len(fake.projects) == 1
    assert next(iter(fake.projects.values()))["model_version"] == "round 0"
    fake.choose("p3", "dog")
    assert make().ask(list(range(120)), round=0, predictions=predictions) == {3: 1}


def test_answers_that_were_not_acknowledged_come_again(fake, make):
    make().ask([1, 2])
    fake.choose("p1", "dog")
    assert make().ask([1, 2], acknowledge=False) == {1: 1}  # and a kill before the ledger had them
    assert make().ask([1, 2]) == {1: 1}
    assert make().ask([2], known=[1]) == {}


def test_an_older_copy_of_the_ledger_gets_its_answers_again(fake, make):
    make().ask([1, 2])
    fake.choose("p1", "dog")
    make().ask([1, 2])
    assert make().ask([1, 2]) == {1: 1}


def test_without_its_memory_everything_is_found_again(fake, make, tmp_path):
    make().ask([1, 2])
    fake.choose("p1", "dog")
    make().ask([1, 2])
    (tmp_path / FILE).unlink()
    assert make().ask([2], known=[1]) == {}
    assert make().ask([2, 3, 1]) == {1: 1}
    assert sorted(keys_of(fake)) == ["p1", "p2", "p3"]


def test_campaigns_that_share_a_project_share_answers(fake, make, tmp_path):
    make().ask([1, 2])
    fake.choose("p1", "dog")
    other = make()
    other.folder = tmp_path / "other"
    other.folder.mkdir()
    assert other.ask([1, 3]) == {1: 1}
    assert keys_of(fake) == ["p1", "p2", "p3"]


def test_samples_of_one_key_share_a_task(fake, make):
    asking = make()
    question = asking.question([4, 5])
    question._keys[5] = "p4"
    asking.oracle.request(question)
    asking.oracle.poll()
    assert keys_of(fake) == ["p4"]
    fake.choose("p4", "rat")
    asking.oracle.request(question)
    assert asking.oracle.poll() == {4: 2, 5: 2}


# -- people ------------------------------------------------------------------------------------------------------------


def test_skips_carry_a_preselected_result_that_is_no_answer(fake, make):
    asking = make()
    asking.ask([1], round=0, predictions={1: (2, 0.9)})
    fake.skip("p1")
    assert asking.ask([1], round=0) == {1: SKIP}
    fake.choose("p1", "dog", by=2)  # somebody else knew
    with pytest.warns(UserWarning, match="anna@lab.org: SKIP, ben@lab.org: 'dog'"):
        assert asking.ask([], known=[1], round=0) == {1: 1}


def test_corrections_come_later(fake, make):
    asking = make()
    asking.ask([1])
    fake.choose("p1", "dog")
    assert asking.ask([1]) == {1: 1}
    fake.edit("p1", chosen("rat"))
    assert make().ask([], known=[1]) == {1: 2}


@pytest.mark.parametrize(
    ("agreement", "label", "who"),
    [("first", 1, "anna, carl"), ("latest", 2, "ben"), ("majority", 1, "anna, carl")],
)
def test_several_annotators(fake, make, agreement, label, who):
    asking = make(agreement=agreement, annotators=3)
    asking.ask([1])
    [project] = fake.projects.values()
    assert project["maximum_annotations"] == 3
    fake.choose("p1", "dog", by=1)
    fake.choose("p1", "dog", by=3)
    early = asking.ask([1])
    assert early == ({} if agreement == "majority" else {1: 1})  # which waits for all three
    fake.choose("p1", "rat", by=2)
    with pytest.warns(UserWarning, match=r"answers that disagree.*p1: anna@lab.org: 'dog', .*ben@lab.org: 'rat'"):
        assert asking.ask([1] if agreement == "majority" else [], known=[1]) == {1: label}
    assert asking.oracle.annotator_of(1).replace("@lab.org", "") == who


def test_a_tie_waits_for_another_voice(fake, make):
    asking = make(agreement="majority", annotators=2)
    asking.ask([1])
    fake.choose("p1", "dog", by=1)
    fake.choose("p1", "rat", by=2)
    with pytest.warns(UserWarning, match=r"cannot be taken.*no majority.*/data\?task="):
        assert asking.ask([1]) == {}
    with pytest.warns(UserWarning, match="no majority"):  # as long as it is so
        assert make(agreement="majority", annotators=2).ask([1]) == {}
    fake.choose("p1", "rat", by=3)
    with pytest.warns(UserWarning, match="disagree"):
        assert asking.ask([1]) == {1: 2}


def test_a_skip_by_one_of_two_waits_for_the_other(fake, make):
    asking = make(annotators=2)
    asking.ask([1])
    fake.skip("p1", by=1)
    assert asking.ask([1]) == {}
    fake.skip("p1", by=2)
    assert asking.ask([1]) == {1: SKIP}


def test_answers_that_cannot_be_taken_lose_no_others(fake, make):
    asking = make()
    asking.ask([1, 2, 3])
    fake.choose("p1", "bird")
    fake.annotate("p2", [])
    fake.choose("p3", "dog")
    with pytest.warns(UserWarning, match=r"2 sample\(s\).*p1: anna@lab.org: There is no class 'bird'.*got none"):
        assert asking.ask([1, 2, 3]) == {3: 1}
    fake.edit("p1", chosen("cat"))
    with pytest.warns(UserWarning, match="1 sample"):
        assert asking.ask([1, 2], known=[3]) == {1: 0}


def test_a_label_that_was_taken_back_stays_and_is_said(fake, make):
    asking = make()
    asking.ask([1])
    fake.choose("p1", "dog")
    asking.ask([1])
    fake.by_key("p1")["annotations"].clear()
    fake.by_key("p1")["updated_at"] = fake.tick()
    with pytest.warns(UserWarning, match=r"were answered before.*`Campaign.forget`"):
        assert asking.ask([], known=[1]) == {}
