"""A small Label Studio on loopback: what of the real one's behaviour a campaign depends on, its silences included."""

import itertools
import json
import re
import socketserver
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "0123456789abcdef0123456789abcdef01234567"
USERS = {1: "anna@lab.org", 2: "ben@lab.org", 3: "carl@lab.org"}


class Refused(Exception):
    """An answer of 400 or more: status, and what is said, or a page of HTML."""


class Fake:
    """The state of the server, and what people do there."""

    def __init__(self):
        self.projects, self.tasks, self.storages = {}, {}, []
        self.numbers = itertools.count(1)
        self.now = datetime.now(timezone.utc) - timedelta(days=1)
        self.log = []  # (method, path, body) of each request
        self.before = lambda method, path: None  # called with each request, before it is served
        self.after = lambda method, path: None  # and after, before the answer goes out

    def tick(self):
        self.now += timedelta(seconds=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def count(self, method="", path=""):
        return sum(m.startswith(method) and path in p for m, p, _ in self.log)

    # what people do

    def by_key(self, key):
        [task] = [task for task in self.tasks.values() if task["data"]["key"] == key]
        return task

    def annotate(self, key, result, by=1, skip=False):
        task = self.by_key(key)
        moment = self.tick()
        annotation = {"id": next(self.numbers), "result": result, "was_cancelled": skip, "completed_by": by}
        task["annotations"].append({**annotation, "created_at": moment, "updated_at": moment})
        task["updated_at"] = moment

    def choose(self, key, *names, by=1):
        self.annotate(key, choices(*names), by)

    def skip(self, key, by=1):
        """As the page does, with what it had preselected in the result."""
        preselected = self.by_key(key)["predictions"]
        self.annotate(key, preselected[0]["result"] if preselected else choices("0"), by, skip=True)

    def edit(self, key, result, number=0):
        task = self.by_key(key)
        task["updated_at"] = task["annotations"][number]["updated_at"] = self.tick()
        task["annotations"][number]["result"] = result

    def remove_project(self, number):
        del self.projects[number]
        self.tasks = {n: task for n, task in self.tasks.items() if task["project"] != number}

    # what the server does

    def answer(self, method, path, query, body):
        parts = [int(part) if part.isdigit() else part for part in path.strip("/").split("/")[1:]]
        match (method, *parts):
            case ("GET", "projects"):
                found = [p for p in self.projects.values() if query["title"] in p["title"]]
                return {"count": len(found), "results": found}
            case ("POST", "projects"):
                if not 3 <= len(body["title"]) <= 50:
                    raise Refused(400, {"title": ["Ensure this field has at least 3 characters."]})
                number = next(self.numbers)
                self.projects[number] = {"id": number, "maximum_annotations": 1, "model_version": "", **body}
                return self.projects[number]
            case ("GET", "projects", int(number)):
                own = [task for task in self.tasks.values() if task["project"] == number]
                return {**self.project(number), "task_number": len(own)}
            case ("PATCH", "projects", int(number)):
                versions = {p["model_version"] for task in self.tasks.values() for p in task["predictions"]}
                if body["model_version"] not in versions:
                    raise Refused(400, {"model_version": ["Model version doesn't exist either as live model or as"]})
                self.project(number).update(body)
                return self.projects[number]
            case ("POST", "projects", int(number), "import"):
                return self.take_in(number, body)
            case ("GET", "tasks"):
                return self.filtered(query)
            case ("GET", "users", int(number)):
                return {"email": USERS[number]}
            case ("GET", "storages", "localfiles"):
                return [each for each in self.storages if each["project"] == int(query["project"])]
            case ("POST", "storages", "localfiles"):
                self.storages.append(body)
                return body
        raise Refused(404, "<!doctype html><html></html>")

    def project(self, number):
        if number not in self.projects:
            raise Refused(404, "No Project matches the given query.")
        return self.projects[number]

    def take_in(self, number, tasks):
        if number not in self.projects:
            raise Refused(404, "<!doctype html>" + "<br>" * 1000)
        fields = re.findall(r'value="\$(\w+)"', self.projects[number]["label_config"])
        if any(field not in task["data"] for task in tasks for field in fields):
            raise Refused(400, {"non_field_errors": [f'"{fields[0]}" key is expected in task data']})
        numbers = []
        for task in tasks:  # nothing looks whether it is there already, or what is predicted
            task = {"id": next(self.numbers), "project": number, "annotations": [], "predictions": [], **task}
            numbers.append(task["id"])
            self.tasks[task["id"]] = {**task, "updated_at": self.tick()}
            for prediction in task["predictions"]:
                self.projects[number]["model_version"] = (
                    self.projects[number]["model_version"] or prediction["model_version"]
                )
        return {"task_ids": numbers}

    def filtered(self, query):
        number = int(query["project"])
        self.project(number)
        [item] = json.loads(query["query"])["filters"]["items"]
        own = [task for task in self.tasks.values() if task["project"] == number]
        match item["filter"], item["operator"], item["type"]:
            case "filter:tasks:data.key", "in_list", "List":
                found = [task for task in own if task["data"].get("key") in item["value"]]
            case "filter:tasks:updated_at", "greater_or_equal", "Datetime":
                datetime.strptime(item["value"], "%Y-%m-%dT%H:%M:%S.%fZ")  # no other form
                found = [task for task in own if task["updated_at"] >= item["value"]]
        size, page = int(query["page_size"]), int(query["page"])
        fields = query["include"].split(",")
        trimmed = [{name: value for name, value in task.items() if name in fields} for task in found]
        for task in trimmed:
            if "annotations" in task:  # trimmed too
                task["annotations"] = [{n: v for n, v in a.items() if n in fields} for a in task["annotations"]]
        return {"total": len(found), "tasks": trimmed[(page - 1) * size : page * size]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self):
        fake, url = self.server.fake, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            fake.before(self.command, url.path)
            if self.headers.get("Authorization") != f"Token {TOKEN}":
                raise Refused(401, "Invalid token.")
            fake.log.append((self.command, url.path, body))
            status, answer = 200, fake.answer(self.command, url.path, query, body)
            fake.after(self.command, url.path)
        except Refused as error:
            status, said = error.args
            answer = {"validation_errors": said} if isinstance(said, dict) else {"detail": said}
            answer = said if isinstance(said, str) and said.startswith("<") else answer
        except ConnectionAbortedError:
            self.close_connection = True
            return
        payload = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):  # without asking a name server
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


@contextmanager
def serving(fake):
    """Serve on a free port of loopback inside; its address."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.fake = fake
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def choices(*names):
    """The results of a choice."""
    return [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(names)}}]
