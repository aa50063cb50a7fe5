"""Tokens and answers of a server, one canned answer after the other."""

import json
from types import SimpleNamespace

import pytest

from lightning_al.oracle import Unreachable
from lightning_al.oracle.people.label_studio.server import NotThere, Server

requests = pytest.importorskip("requests")
PERSONAL = "header.payload.signature"


@pytest.fixture
def canned(monkeypatch):
    """Answers to come, ``(status, body)``, and what was asked: method, path, and the token sent along."""

    canned = SimpleNamespace(answers=[], asked=[])

    def request(session, method, url, **options):
        canned.asked.append((method, url.removeprefix("http://studio"), session.headers.get("Authorization")))
        response = requests.Response()
        response.status_code, body = canned.answers.pop(0)
        response._content = (body if isinstance(body, str) else json.dumps(body)).encode()
        response.headers["Location"] = "https://studio/"
        return response

    monkeypatch.setattr(requests.Session, "request", request)
    return canned


def test_a_personal_token_gets_others_that_last_five_minutes(canned):
    canned.answers = [(200, {"access": "a"}), (200, [1]), (401, {}), (200, {"access": "b"}), (200, [2])]
    server = Server("http://studio/", PERSONAL, "TOKEN")
    assert [server.call("GET", "/x"), server.call("GET", "/x")] == [[1], [2]]
    refresh, get = ("POST", "/api/token/refresh/", None), ("GET", "/x")
    assert canned.asked == [refresh, (*get, "Bearer a"), (*get, "Bearer a"), refresh, (*get, "Bearer b")]


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, {"detail": "Invalid token."}, PermissionError, r"token in TOKEN \(401: Invalid token.\)"),
        (403, {}, PermissionError, "refuses the token"),
        (404, {"detail": "No Task matches."}, NotThere, "No Task matches."),
        (404, "<!doctype html>" + "x" * 9999, NotThere, "no such page"),
        (400, {"detail": "Validation error", "validation_errors": {"title": ["Too short."]}}, ValueError, "Too short"),
        (301, "", ValueError, "on to https://studio/"),
        (500, "<html>", RuntimeError, r"failed at GET /x \(500\): no reason given"),
        (503, "", Unreachable, "is not there"),
        (429, {"detail": "Request was throttled."}, Unreachable, "429"),
        (400, {"validation_errors": {"detail": "Too long.", "x": [1, 2]}}, ValueError, "detail: Too long.; x: 1 2"),
        (200, "<html>", RuntimeError, "Is it Label Studio"),
    ],
)
def test_what_errors_mean(canned, status, body, kind, message):
    canned.answers = [(status, body)]
    with pytest.raises(kind, match=message) as caught:
        Server("http://studio", "legacy", "TOKEN").call("GET", "/x")
    assert "legacy" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_more_tasks_than_a_page_has(canned):
    tasks = [{"id": i, "data": {"key": f"k{i % 2}"}} for i in range(3)]
    canned.answers = [(200, {"total": 3, "tasks": tasks[:2]}), (200, {"total": 3, "tasks": tasks[2:]})]
    assert Server("http://studio", "legacy", "TOKEN").find(7, ["k0", "k1"]) == {"k0": [0, 2], "k1": [1]}
    assert [token for *_, token in canned.asked] == ["Token legacy"] * 2
