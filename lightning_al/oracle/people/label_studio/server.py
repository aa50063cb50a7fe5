"""What of Label Studio's HTTP interface is used, and what its errors mean to a campaign."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lightning_al.extras import needs
from lightning_al.oracle.base import Unreachable
from lightning_al.words import cut

_PAGE = 1000  # tasks of one answer
_TIMEOUT = (10, 120)  # seconds to connect, and to wait for an answer
_AWAY = (429, 502, 503, 504)
_OF_ANSWERS = (
    "id,updated_at,annotations,result,was_cancelled,completed_by,created_at,updated_at"  # nested ones are trimmed too
)

Json = Any


class NotThere(LookupError):
    """The server has no such project, task or user."""


class Server:
    """A Label Studio server, as one user sees it.

    Args:
        url: Where it is.
        token: The user's: an access token of the old kind, or a personal one.
        token_name: Where the token comes from, for errors.

    Raises:
        ImportError: If ``requests`` is not installed.
    """

    def __init__(self, url: str, token: str, token_name: str) -> None:
        with needs("Label Studio", "requests", "label-studio"):
            import requests
        self.url = url.rstrip("/")
        self._token = token
        self._token_name = token_name
        self._session = requests.Session()
        self._is_personal = token.count(".") == 2  # a JSON web token, good for getting others
        if not self._is_personal:
            self._session.headers["Authorization"] = f"Token {token}"

    def call(self, method: str, path: str, **options: Any) -> Json:
        """Return what the server answers.

        Raises:
            Unreachable: If it does not answer.
            PermissionError: If it refuses the token.
            NotThere: If it has no such thing.
            ValueError: If it refuses what was sent.
            RuntimeError: If it fails.
        """
        if self._is_personal and "Authorization" not in self._session.headers:
            self._renew()
        response = self._send(method, path, **options)
        if response.status_code == 401 and self._is_personal:  # good for five minutes
            self._renew()
            response = self._send(method, path, **options)
        return self._taken(response, f"{method} {path}")

    def _send(self, method: str, path: str, **options: Any) -> Any:
        import requests

        try:
            # A redirected POST would come as a GET.
            return self._session.request(method, self.url + path, timeout=_TIMEOUT, allow_redirects=False, **options)
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = cut(getattr(error.args[0] if error.args else error, "reason", error), 200)
            raise Unreachable(f"Label Studio at {self.url} does not answer ({reason}).") from error
        except requests.RequestException as error:
            raise ValueError(f"{self.url!r} cannot be called: {cut(error, 200)}") from error

    def _renew(self) -> None:
        self._session.headers.pop("Authorization", None)
        answer = self._taken(self._send("POST", "/api/token/refresh/", json={"refresh": self._token}), "the token")
        self._session.headers["Authorization"] = f"Bearer {answer['access']}"

    def _taken(self, response: Any, what: str) -> Json:
        status = response.status_code
        if status in _AWAY:
            raise Unreachable(f"Label Studio at {self.url} is not there ({status}).")
        if 300 <= status < 400:
            raise ValueError(
                f"{self.url} sends {what} on to {response.headers.get('Location')}: give `url=` as it is there."
            )
        if status < 300:
            try:
                return response.json() if response.content else None
            except ValueError:
                raise RuntimeError(
                    f"{self.url} answers {what} with no JSON: {cut(response.text, 80)!r}. Is it Label Studio?"
                ) from None
        said = _said(response)
        if status in (401, 403):
            raise PermissionError(
                f"Label Studio at {self.url} refuses the token in {self._token_name} ({status}: {said}). Copy the "
                "token of `Account & Settings` there; a server may have tokens of the old kind switched off."
            )
        if status == 404:
            raise NotThere(f"Label Studio at {self.url}: {said} ({what})")
        if status < 500:
            raise ValueError(f"Label Studio at {self.url} refuses {what} ({status}): {said}")
        raise RuntimeError(f"Label Studio at {self.url} failed at {what} ({status}): {said}")

    # -- projects --------------------------------------------------------------------------------------------------

    def project(self, number: int) -> Json:
        """Return a project."""
        fields = "id,title,label_config,sampling,model_version,maximum_annotations,task_number"
        return self.call("GET", f"/api/projects/{number}/", params={"include": fields})

    def projects_called(self, title: str) -> list[int]:
        """Return the numbers of the projects with exactly this title."""
        answer = self.call("GET", "/api/projects/", params={"title": title, "include": "id,title", "page_size": _PAGE})
        return [each["id"] for each in answer["results"] if each["title"] == title]

    def create_project(self, title: str, label_config: str, annotators: int) -> int:
        """Create a project that hands tasks out in the order in which they come, and return its number."""
        project = {
            "title": title,
            "label_config": label_config,
            "sampling": "Sequential sampling",
            "maximum_annotations": annotators,
        }
        return int(self.call("POST", "/api/projects/", json=project)["id"])

    def show_predictions_of(self, project: int, model_version: str) -> None:
        """Have people shown the predictions of this version."""
        self.call("PATCH", f"/api/projects/{project}/", json={"model_version": model_version})

    def serve_files(self, project: int, folder: str) -> None:
        """Have the server hand out the files of a folder on its disk."""
        storages = self.call("GET", "/api/storages/localfiles/", params={"project": project})
        if not any(each["path"].rstrip("/") == folder for each in storages):
            storage = {"project": project, "path": folder, "use_blob_urls": True, "title": folder}
            self.call("POST", "/api/storages/localfiles/", json=storage)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def send(self, project: int, tasks: Sequence[Json]) -> list[int]:
        """Put tasks into a project and return their numbers, in order."""
        answer = self.call("POST", f"/api/projects/{project}/import", params={"return_task_ids": "true"}, json=tasks)
        return list(answer["task_ids"])

    def find(self, project: int, keys: Collection[str]) -> dict[str, list[int]]:
        """Return the numbers of a project's tasks with these keys, oldest first."""
        found: dict[str, list[int]] = {}
        condition = {"filter": "filter:tasks:data.key", "operator": "in_list", "type": "List", "value": [*keys]}
        for task in self._tasks(project, condition, include="id,data", fields="task_only"):
            found.setdefault(task["data"]["key"], []).append(task["id"])
        return {key: sorted(numbers) for key, numbers in found.items()}

    def changed(self, project: int, since: str) -> list[Json]:
        """Return the tasks that changed since a time, with their annotations; one request if there are few."""
        condition = {
            "filter": "filter:tasks:updated_at",
            "operator": "greater_or_equal",
            "type": "Datetime",
            "value": since,
        }
        return list(self._tasks(project, condition, include=_OF_ANSWERS, fields="all"))

    def _tasks(self, project: int, condition: Json, *, include: str, fields: str) -> Iterator[Json]:
        query = json.dumps({"filters": {"conjunction": "and", "items": [condition]}})
        page, seen = 1, 0
        while True:
            params = {"project": project, "query": query, "include": include, "fields": fields}
            answer = self.call("GET", "/api/tasks/", params={**params, "page": page, "page_size": _PAGE})
            yield from answer["tasks"]
            seen += len(answer["tasks"])
            if seen >= answer["total"] or not answer["tasks"]:
                return
            page += 1

    def name_of(self, user: int) -> str:
        """Return what a user is called: their e-mail address."""
        try:
            return str(self.call("GET", f"/api/users/{user}/")["email"])
        except (NotThere, PermissionError):
            return f"user {user}"


def _said(response: Any) -> str:
    """Return what an error says, in a few words: it may be a page of HTML."""
    try:
        answer = response.json()
    except ValueError:
        return "no such page" if response.status_code == 404 else "no reason given"
    if not isinstance(answer, dict):
        return cut(answer, 300)
    errors = answer.get("validation_errors") or {}
    lists = {name: texts if isinstance(texts, list) else [texts] for name, texts in errors.items() if texts}
    told = "; ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in lists.items())
    return cut(told or answer.get("detail") or answer, 300)
