"""Samples on their way to tasks: each is sent once, whenever a process is killed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lightning_al.oracle.people.label_studio.asked import task_key
from lightning_al.oracle.people.label_studio.control import Control
from lightning_al.oracle.people.label_studio.memory import Memory, SentTask
from lightning_al.oracle.people.label_studio.project import Project
from lightning_al.oracle.people.label_studio.results import to_results
from lightning_al.oracle.people.label_studio.showing import Showing, Shown
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.regions import within
from lightning_al.tasks.annotations import Boxes, Mask
from lightning_al.tasks.base import Task

AT_ONCE = 100
"""Tasks of one request."""

PATIENCE = 15.0
"""Seconds within which a server has taken in what a killed process sent it."""

_LONGEST_LOOK = 4000  # characters of the keys in one address
_BETWEEN_LOOKS = 0.5  # seconds


@dataclass(frozen=True)
class Sending:
    """Sends samples to a project.

    Args:
        project: Where to.
        showing: What people see of a sample.
        task: Says predictions in names and pixels.
    """

    project: Project
    showing: Showing
    task: Task

    def send(self, question: OpenQuestion, memory: Memory) -> None:
        """Send what is asked and not there yet, in the order asked, a hundred tasks a request.

        The server does not know two tasks of one sample from each other, and goes on taking in what a killed process
        had sent. So it is written down what is being sent, and looked for before it is sent again.
        """
        key_of = {index: task_key(question.key(index), question.part(index)) for index in question}
        indices = {key_of[index]: index for index in reversed(question)}
        new = [key for key in dict.fromkeys(map(key_of.__getitem__, question)) if key not in memory.tasks]
        if not new:
            return
        self.project.check_names()
        first = self._shown(question, indices[new[0]])  # says what a new project shows
        if memory.project is None:
            number = self.project.find()
            memory.project = self.project.make(first.kind) if number is None else number
            memory.asked_for = self.project.wanted
            memory.write(question.folder)
        number = memory.project
        there = self.project.look_at(number)
        if memory.sending or there["task_number"] != len(memory.tasks):
            self._find(number, new, memory)
            if self.showing.with_size:
                for key in set(new) & memory.tasks.keys():
                    memory.tasks[key].size = self._shown(question, indices[key]).size
            memory.write(question.folder)
        left = [key for key in new if key not in memory.tasks]
        for start in range(0, len(left), AT_ONCE):
            keys = left[start : start + AT_ONCE]
            shown = [self._shown(question, indices[key]) for key in keys]
            for folder in sorted({each.folder for each in shown if each.folder is not None}):
                self.project.server.serve_files(number, folder)
            control = self.project.control_of(number)
            tasks = [
                self._task_of(question, indices[key], each, control) for key, each in zip(keys, shown, strict=True)
            ]
            self._send_some(number, tasks, keys, [each.size for each in shown], memory, folder=question.folder)
        if left:
            rank_zero_info(f"{len(left)} task(s) in Label Studio: {self.project.page(number)}")

    def _shown(self, question: OpenQuestion, index: int) -> Shown:
        return self.showing(question.dataset, index, question.part(index))

    def _send_some(
        self, number: int, tasks: list[Any], keys: list[str], sizes: list[Any], memory: Memory, *, folder: Path
    ) -> None:
        memory.sending, memory.sending_since = keys, time.time()
        memory.write(folder)
        numbers = self.project.server.send(number, tasks)
        for key, size, task_number in zip(keys, sizes, numbers, strict=True):
            memory.tasks[key] = SentTask(task_number, size)
        memory.sending = []
        memory.write(folder)

    def _find(self, number: int, keys: list[str], memory: Memory) -> None:
        """Look for tasks that are in the project already; for a while, if they were being sent when a process ended."""
        server, sent_last = self.project.server, set(memory.sending)
        found: dict[str, list[int]] = {}
        end = memory.sending_since + PATIENCE
        while True:
            for some in _looks([key for key in keys if key not in found]):
                found |= server.find(number, some)
            doubtful = [key for key in keys if key in sent_last and key not in found]
            if not doubtful or not 0 < end - time.time() <= PATIENCE:
                break
            time.sleep(_BETWEEN_LOOKS)
            keys = doubtful
        for key, numbers in found.items():
            memory.tasks[key] = SentTask(numbers[0])
            if len(numbers) > 1:
                rank_zero_warn(f"Project {number} has {len(numbers)} tasks of {key!r}; the oldest is looked at.")
        if found:
            memory.since = ""  # they may have answers from before
        memory.sending = []

    def _task_of(self, question: OpenQuestion, index: int, view: Shown, control: Control) -> dict[str, Any]:
        part = question.part(index)
        key = task_key(question.key(index), part)
        if view.kind != control.shows:
            raise ValueError(
                f"The label config shows an {control.shows!r}, and sample {key!r} is shown as {view.kind!r}: say what "
                "people are to see of a sample (`show=`)."
            )
        task: dict[str, Any] = {"data": {control.field: view.value, "key": key}}
        given = question.size(index)
        if control.kind == "boxes":  # refused before anybody draws some
            Boxes((), (), size=view.size).in_pixels_of(given)
        prediction = question.prediction(index)
        if prediction is not None:
            names = self.project.names()
            annotation = self.task.to_annotation(prediction.label, names)
            if part is not None and isinstance(annotation, Mask):
                annotation = within(annotation, part)
            if isinstance(annotation, Boxes):
                annotation = replace(annotation, size=given).in_pixels_of(view.size)
            score = {} if prediction.confidence is None else {"score": prediction.confidence}
            results = to_results(annotation, control, classes=names or (), size=view.size)
            task["predictions"] = [{"model_version": version(question), "result": results, **score}]
        return task

    def show_predictions(self, question: OpenQuestion, memory: Memory) -> None:
        """Have the page preselect this round's predictions: it goes by one version of the model at a time."""
        if memory.project is None or memory.model_version == version(question):
            return
        if any(question.prediction(index) is not None for index in question):
            try:
                self.project.server.show_predictions_of(memory.project, version(question))
            except ValueError:  # no such version, since all of its tasks were there before
                rank_zero_info(f"Label Studio has no predictions of {version(question)} to show.")
            memory.model_version = version(question)
            memory.write(question.folder)


def version(question: OpenQuestion) -> str:
    """Return what the model is called that made the predictions."""
    return f"round {question.round}"


def _looks(keys: list[str]) -> Iterator[list[str]]:
    """Go through keys, as many at a time as an address takes."""
    some: list[str] = []
    for key in keys:
        if some and (len(some) >= AT_ONCE or sum(map(len, some)) + len(key) > _LONGEST_LOOK):
            yield some
            some = []
        some.append(key)
    if some:
        yield some
