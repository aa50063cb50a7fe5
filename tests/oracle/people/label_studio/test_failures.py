"""What goes wrong on the way to Label Studio: each says what it was, and leaves all as it is."""

import pytest

from lightning_al.oracle import LabelStudio, Unreachable
from lightning_al.oracle.people.label_studio.memory import FILE
from tests.oracle.people.label_studio.asking import NAMES, Pictures, keys_of

pytest.importorskip("requests")


def test_a_wrong_token(make, monkeypatch):
    monkeypatch.setenv("OTHER", "wrong")
    with pytest.raises(PermissionError, match=r"refuses the token in OTHER \(401: Invalid token.\)"):
        make(token_variable="OTHER").oracle.check()


def test_no_token(make, monkeypatch):
    monkeypatch.delenv("OTHER", raising=False)
    with pytest.raises(ValueError, match="variable OTHER with the token"):
        make(token_variable="OTHER").oracle.check()


def test_a_project_that_is_gone(fake, make, tmp_path):
    make().ask([1])
    fake.choose("p1", "dog")
    make().ask([1])
    fake.remove_project(1)
    for indices in ([1], [1, 2]):  # at the poll, and when something is sent
        with pytest.raises(RuntimeError, match=r"Project 1 is not at http.*campaign is intact.*label_studio.json"):
            make().ask(indices)
    (tmp_path / FILE).unlink()
    make().ask([2], known=[1])
    assert keys_of(fake) == ["p2"]


def test_a_project_that_was_never_there(make):
    with pytest.raises(ValueError, match="no project 77"):
        make(project=77).oracle.check()


def test_no_server(make):
    with pytest.raises(Unreachable, match=r"Label Studio at http://127.0.0.1:9 does not answer"):
        make(url="http://127.0.0.1:9").oracle.check()


def test_a_config_that_lacks_a_class(fake, make):
    make().ask([1])
    fake.projects[1]["label_config"] = fake.projects[1]["label_config"].replace("rat", "mouse")
    with pytest.raises(ValueError, match=r"lacks 'rat' in 'label', which has 'cat', 'dog', 'mouse'.*/settings/"):
        make().oracle.check()
    with pytest.raises(ValueError, match="lacks 'rat'"):
        make().ask([1, 2])  # also where it was edited in the course of a campaign
    assert keys_of(fake) == ["p1"]
    make(classes=["cat", "dog", "mouse"]).ask([1, 2])


def test_too_few_annotators_in_the_project(fake, make):
    make().ask([1])
    with pytest.raises(ValueError, match=r"`annotators=2`, but project 1 .* to 1 only"):
        make(annotators=2).oracle.check()


def test_two_projects_of_one_title(fake, make):
    make().ask([1])
    fake.projects[50] = {**fake.projects[1], "id": 50}
    with pytest.raises(ValueError, match=r"2 projects at .* are called 'Animals'.*1, 50"):
        make().oracle.check()


def test_another_project_than_before(make):
    make().ask([1])
    with pytest.raises(ValueError, match=r"asks in project 1 \(`project='Animals'`\).*got `project='Plants'`"):
        make(project="Plants").ask([1])


def test_classes_without_names(fake, make):
    class Nameless(Pictures):
        classes = None

    with pytest.raises(ValueError, match=r"`LabelStudio\(classes=\[...\]\)`"):
        make(dataset=Nameless()).ask([1])
    make(dataset=Nameless(), classes=NAMES).ask([1])


def test_a_memory_that_is_damaged(make, tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ValueError, match=r"label_studio.json is damaged.*Remove it"):
        make().ask([1])


def test_a_page_that_is_no_label_studio(fake, make):
    fake.answer = lambda *args: "<html>Welcome</html>"
    with pytest.raises(RuntimeError, match=r"no JSON.*Is it Label Studio"):
        make().oracle.check()


def test_options_that_cannot_be():
    with pytest.raises((TypeError, ValueError), match="6 things") as caught:
        LabelStudio("ab", url="localhost", kind="boxen", agreement="vote", annotators=0, token_variable=3)
    for word in ("3 to 50 characters", "http://", "'mask'", "'majority'", "`annotators`", "`token_variable`"):
        assert word in str(caught.value)
