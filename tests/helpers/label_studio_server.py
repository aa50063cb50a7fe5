"""A real Label Studio server on loopback, from an environment of its own, and a person who answers there.

``LABEL_STUDIO_ENVIRONMENT`` is a folder with a virtual environment that has Label Studio. With
``LABEL_STUDIO_INSTALL=1`` it is made there if it is not there yet (two minutes, 1 GB).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

VERSION = "1.23.2"
TOKEN = "abcdef0123456789abcdef0123456789abcdef01"
PERSON = ("person@lab.org", "secret123")
_PATIENCE = 300  # seconds until it answers


def executable() -> Path:
    """Label Studio's command; the test is skipped where there is none."""
    folder = os.environ.get("LABEL_STUDIO_ENVIRONMENT")
    if folder and os.environ.get("LABEL_STUDIO_INSTALL") and not (Path(folder) / "bin/label-studio").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "-q", f"label-studio=={VERSION}"], check=True)
    found = shutil.which("label-studio", path=f"{folder}/bin" if folder else None)
    if found is None:
        pytest.skip(
            "Label Studio is not installed: LABEL_STUDIO_ENVIRONMENT=FOLDER names a virtual environment that has it, "
            f"and LABEL_STUDIO_INSTALL=1 makes it (label-studio=={VERSION})."
        )
    return Path(found)


class RealServer:
    """Runs from :meth:`start` to :meth:`stop`; its state is in ``folder``, which has ``files`` that it serves."""

    def __init__(self, folder: Path) -> None:
        self.command = executable()
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self) -> None:
        import requests

        options = {
            "BASE_DATA_DIR": self.folder / "data",
            "ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "LOCAL_FILES_SERVING_ENABLED": "true",
            "LOCAL_FILES_DOCUMENT_ROOT": self.files,
        }
        environment = {f"LABEL_STUDIO_{name}": str(value) for name, value in options.items()}
        arguments = f"start --no-browser --internal-host 127.0.0.1 --port {self.port} --user-token {TOKEN}".split()
        arguments += ["--username", PERSON[0], "--password", PERSON[1]]
        log = (self.folder / "log.txt").open("ab")
        others = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LABEL_STUDIO"))}
        self.process = subprocess.Popen(
            [str(self.command), *arguments],
            env={**others, **environment, "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                if requests.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"Label Studio did not start: {(self.folder / 'log.txt').read_text()[-3000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Person:
    """Somebody who opens tasks in the order in which the server hands them out, and answers."""

    def __init__(self, url: str) -> None:
        import requests

        self.url, self.session = url, requests.Session()
        self.session.headers["Authorization"] = f"Token {TOKEN}"

    def call(self, method, path, **options):
        answer = self.session.request(method, self.url + path, timeout=60, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def next_task(self, project):
        """What the labelling page opens; None if nothing is left."""
        answer = self.session.get(f"{self.url}/api/projects/{project}/next", timeout=60)
        return None if answer.status_code == 404 else answer.json()

    def answer(self, task, result, **fields):
        return self.call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": result, **fields})["id"]

    def skip(self, task):
        """As the page does: with what was preselected."""
        preselected = [result for prediction in task["predictions"] for result in prediction["result"]]
        self.answer(task, preselected, was_cancelled=True)

    def edit(self, annotation, result):
        self.call("PATCH", f"/api/annotations/{annotation}/", json={"result": result})

    def tasks(self, project):
        return self.call("GET", "/api/tasks/", params={"project": project, "fields": "all", "page_size": 1000})["tasks"]
