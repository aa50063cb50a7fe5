"""The oracle that asks by way of a project in Label Studio."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_choice, check_count, check_that, check_type
from lightning_al.data.classes import class_names
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.people.agreement import check_agreement
from lightning_al.oracle.people.label_studio.answering import Answered, Answering
from lightning_al.oracle.people.label_studio.control import KINDS, Control, find_control, new_config
from lightning_al.oracle.people.label_studio.memory import FILE, Memory, SentTask
from lightning_al.oracle.people.label_studio.results import to_results
from lightning_al.oracle.people.label_studio.server import NotThere, Server
from lightning_al.oracle.people.label_studio.showing import Show, Shown, Showing
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.base import Task
from lightning_al.words import shown

_AT_ONCE = 100  # tasks of one request
_LONGEST_LOOK = 4000  # characters of keys in one address
_PATIENCE = 15.0  # seconds within which a server has taken in what a killed process sent
_OVERLAP = timedelta(seconds=5)  # within which changes may come to light in another order
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_MOST_SHOWN = 3


class LabelStudio(Oracle):
    """Asks people by way of a project in Label Studio, and takes their answers from there.

    Each picked sample becomes a task, best first, in which the model's own answer is chosen already. ``run`` returns
    while answers are missing; run it again with ``resume=True`` to go on. Every time it takes what changed since,
    corrections of earlier answers too. Samples go by their keys: one that has a task in the project already gets no
    other, and campaigns that share a project share its answers.

    A project that is named by its title is made where there is none, with a label config from the task and the names
    of the classes. What the campaign knows of it is in ``label_studio.json`` beside the ledger.

    Args:
        project: The number of a project there, or a title (3 to 50 characters).
        url: Where Label Studio is.
        token_variable: The environment variable with the access token. The token is never written anywhere.
        classes: Names, by class index. Default: those that the dataset has, or else the numbers.
        kind: What is asked for: ``"class"``, ``"classes"`` (several), ``"number"``, ``"boxes"`` or ``"mask"``. Default:
            what the task says.
        show: What people see of a sample: one of its entries, by position or name, or a function of dataset and index
            that returns a text, the path of an image, or an image. Default: the file that the dataset lists for it, or
            else the first entry that is a text or an image.
        files: The folder from which the server serves files, its ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``; images
            must be in folders below it. Default: images are sent inside the tasks, at most 1 MiB each.
        control: The name of the tag in the label config that takes the answer, if several could.
        unpainted: The class of a mask's pixels that nobody painted. Default: nothing is said of them (255).
        agreement: Whose answer counts if several people gave one: ``"latest"``, ``"first"``, or ``"majority"``, see
            :func:`~lightning_al.oracle.people.agreement.agree`.
        annotators: How many people are to answer each task: for a majority, and before a sample is skipped.

    Raises:
        TypeError: If an option is of the wrong type.
        ValueError: If an option is none of those that there are.

    Example:
        >>> LabelStudio("Cats and dogs", annotators=3, agreement="majority")
        LabelStudio('Cats and dogs', url='http://localhost:8080')
    """

    annotator = "Label Studio"
    wants_predictions = True
    corrects = True

    def __init__(
        self,
        project: int | str,
        *,
        url: str = "http://localhost:8080",
        token_variable: str = "LABEL_STUDIO_API_KEY",
        classes: list[str] | None = None,
        kind: str | None = None,
        show: Show | int | str | None = None,
        files: str | None = None,
        control: str | None = None,
        unpainted: str | None = None,
        agreement: str = "latest",
        annotators: int = 1,
    ) -> None:
        with Findings() as findings:
            findings.of(check_type, "project", project, (int, str), "the number of a project, or a title")
            findings.refuse_if(
                isinstance(project, str) and not 3 <= len(project) <= 50,
                f"`project={shown(project)}`: a title has 3 to 50 characters there.",
            )
            findings.of(check_type, "url", url, str, "an address")
            findings.refuse_if(
                isinstance(url, str) and not url.startswith(("http://", "https://")),
                f"`url={shown(url)}` must begin with http:// or https://.",
            )
            findings.of(check_that, isinstance(token_variable, str), "token_variable", token_variable, "a name")
            if kind is not None:
                findings.of(check_choice, "kind", kind, KINDS)
            findings.of(check_agreement, agreement)
            findings.of(check_count, "annotators", annotators)
        self.project = project
        self.url = url
        self.token_variable = token_variable
        self.classes = classes
        self.kind = kind
        self.show = show
        self.files = files
        self.control = control
        self.unpainted = unpainted
        self.agreement = agreement
        self.annotators = annotators
        self._task: Task | None = None
        self._dataset: Dataset | None = None
        self._server: Server | None = None
        self._control: Control | None = None
        self._memory = Memory()
        self._question: OpenQuestion | None = None
        self._annotators: dict[int, str] = {}
        self._taken: dict[str, tuple[str, str]] = {}  # by key, when it changed, and the problem, for `acknowledge`
        self._since = ""

    def __repr__(self) -> str:
        return f"LabelStudio({self.project!r}, url={self.url!r})"

    # -- before a campaign -----------------------------------------------------------------------------------------

    def bind(self, dataset: Dataset, task: Task) -> None:
        """Take note of dataset and task, and refuse a task whose labels nobody could give there.

        Raises:
            ValueError: If it is not known what people are to say, or the token is missing.
        """
        self._dataset, self._task = dataset, task
        kind = task.annotation_kind if self.kind is None else self.kind
        if kind is None:
            raise ValueError(
                f"`{type(task).__name__}` does not say what people are to say of a sample: give "
                f"`LabelStudio(kind=...)`, one of {', '.join(map(repr, KINDS))}."
            )
        self._asked_kind = kind
        self._showing = Showing(self.show, self.files, kind in ("boxes", "mask"))

    def check(self) -> None:
        """Refuse a server that does not answer, a token it does not take, and a project that does not fit the classes.

        Raises:
            ConnectionError: If there is no answer.
            PermissionError: If the token is refused.
            ValueError: If there is no such project, or its label config lacks something.
        """
        number = self._find_project()
        if number is not None:
            self._look_at(number)

    # -- questions and answers -------------------------------------------------------------------------------------

    def request(self, indices: Sequence[int]) -> None:
        """Send what is not there yet, a hundred tasks a request."""
        if not isinstance(indices, OpenQuestion):
            raise TypeError("`LabelStudio` needs the loop's question, with samples and keys, not their indices alone.")
        question, memory = indices, Memory.read(indices.folder)
        self._question, self._memory, self._taken = question, memory, {}
        if memory.project is not None and memory.asked_for != self.project:
            raise ValueError(
                f"The campaign asks in project {memory.project} (`project={memory.asked_for!r}`), and goes on there; "
                f"got `project={self.project!r}`. To ask elsewhere from now on remove {question.folder / FILE}."
            )
        memory.url = self.url
        self._mistrust_restored_ledger(question, memory)
        new = {question.key(index): index for index in reversed(question) if question.key(index) not in memory.tasks}
        if new:
            self._send(question, memory, {key: new[key] for key in reversed(new)})
        self._show_predictions(question, memory)

    def poll(self) -> dict[int, Any]:
        """Return the answers of tasks that changed since the last ones that were acknowledged; one request."""
        memory, question = self._memory, self._question
        if memory.project is None or question is None:
            return {}
        changed = self._changed(memory)
        self._since = max([memory.since, *(_earlier(task["updated_at"]) for task in changed)])
        key_of = {task.id: key for key, task in memory.tasks.items()}
        answering: Answering | None = None
        answered: dict[str, Answered] = {}
        for task in changed:
            key = key_of.get(task["id"])
            if key is None or memory.tasks[key].taken == task["updated_at"]:
                continue  # another campaign's; or taken before
            answering = self._answering(memory) if answering is None else answering
            answer = answered[key] = answering(task, memory.tasks[key].size)
            if answer.label is not None or answer.problem:
                self._taken[key] = (task["updated_at"], answer.problem)
        self._report(answered, memory)
        indices_of = question.indices_of()
        first = [key for key in dict.fromkeys(map(question.key, question)) if key in answered]
        answers: dict[int, Any] = {}
        for key in dict.fromkeys([*first, *answered]):
            for index in indices_of.get(key, ()) if answered[key].label is not None else ():
                answers[index] = answered[key].label
                self._annotators[index] = answered[key].annotator
        return answers

    def annotator_of(self, index: int) -> str:
        """Return the e-mail address of who answered."""
        return self._annotators.get(index, self.annotator)

    def acknowledge(self) -> None:
        """Note which answers need not be asked for again."""
        memory, question = self._memory, self._question
        if question is None or (not self._taken and memory.since == self._since):
            return
        for key, (changed, problem) in self._taken.items():
            memory.tasks[key].taken, memory.tasks[key].problem = changed, problem
        memory.since = self._since
        memory.write(question.folder)
        self._taken = {}

    # -- the project -----------------------------------------------------------------------------------------------

    def _api(self) -> Server:
        if self._server is None:
            token = os.environ.get(self.token_variable, "").strip()
            if not token:
                raise ValueError(
                    f"The environment variable {self.token_variable} with the token for {self.url} is not set. Copy "
                    "the token of `Account & Settings` there, or name another variable: `token_variable=`."
                )
            self._server = Server(self.url, token, self.token_variable)
        return self._server

    def _find_project(self) -> int | None:
        """Return the number of the project, None if it is still to be made."""
        if isinstance(self.project, int):
            return self.project
        numbers = self._api().projects_called(self.project)
        if len(numbers) > 1:
            raise ValueError(f"{len(numbers)} projects at {self.url} are called {self.project!r}: name one by {numbers}.")
        return numbers[0] if numbers else None

    def _look_at(self, number: int) -> Any:
        """Return a project, once its label config was found to fit."""
        try:
            project = self._api().project(number)
        except NotThere as error:
            raise self._gone(number, error) from None
        control = find_control(project["label_config"], self._asked_kind, self.control)
        missing = control.missing([name for name in self._names() or () if name != self.unpainted])
        if missing:
            raise ValueError(
                f"The label config of project {number} ({project['title']!r}) lacks {', '.join(map(repr, missing[:12]))}"
                f" in {control.name!r}, which has {', '.join(map(repr, control.labels[:12]))}. Add what is missing "
                f"there ({self.url}/projects/{number}/settings/labeling), or say what the classes are called: "
                "`classes=`."
            )
        if project["maximum_annotations"] < self.annotators:
            raise ValueError(
                f"`annotators={self.annotators}`, but project {number} ({project['title']!r}) hands each task to "
                f"{project['maximum_annotations']} only (`Annotations per task`)."
            )
        self._control = control
        return project

    def _gone(self, number: int, error: Exception) -> Exception:
        if self._memory.project is None or self._question is None:
            return ValueError(f"There is no project {number} at {self.url} for the user of this token ({error}).")
        return RuntimeError(
            f"Project {number} is not at {self.url} any more ({error}). The campaign is intact, with all answers that "
            f"it took. Restore the project; or remove {self._question.folder / FILE}, and what is open is asked in a "
            "new one."
        )

    def _names(self) -> list[str] | None:
        """Return the names of the classes; None where nobody knows how many there are."""
        if self.classes is not None:
            return [str(name) for name in self.classes]
        count = None if self._task is None else self._task.num_classes
        names = None if self._dataset is None else class_names(self._dataset)
        return names if names is not None or count is None else [str(number) for number in range(count)]

    def _make_project(self, shows: str) -> int:
        names = self._names()
        if names is None and self._asked_kind != "number":
            raise ValueError(
                "What the classes are called is not known, which a new project needs: give the dataset `classes`, or "
                "`LabelStudio(classes=[...])`."
            )
        offered = [name for name in names or () if name != self.unpainted]
        config = new_config(self._asked_kind, shows, offered)
        number = self._api().create_project(str(self.project), config, self.annotators)
        rank_zero_info(f"Made the project {self.project!r}: {self.url}/projects/{number}/data")
        return number

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, question: OpenQuestion, memory: Memory, new: dict[str, int]) -> None:
        api = self._api()
        shown_first = {key: self._show(question, index) for key, index in list(new.items())[:1]}
        if memory.project is None:
            number = self._find_project()
            memory.project = self._make_project(next(iter(shown_first.values())).kind) if number is None else number
            memory.asked_for = self.project
            memory.write(question.folder)
        number = memory.project
        project = self._look_at(number)
        if memory.sending or project["task_number"] != len(memory.tasks):
            self._find(memory, number, list(new))
            memory.write(question.folder)
        left = [key for key in new if key not in memory.tasks]
        folders: set[str] = set()
        for start in range(0, len(left), _AT_ONCE):
            keys = left[start : start + _AT_ONCE]
            views = {key: shown_first.get(key) or self._show(question, new[key]) for key in keys}
            for folder in {view.folder for view in views.values() if view.folder is not None} - folders:
                api.serve_files(number, folder)
                folders.add(folder)
            tasks = [self._task_of(question, new[key], key, views[key]) for key in keys]
            memory.sending, memory.sending_since = keys, time.time()
            memory.write(question.folder)
            numbers = api.send(number, tasks)
            for key, task_number in zip(keys, numbers, strict=True):
                memory.tasks[key] = SentTask(task_number, views[key].size)
            memory.sending = []
            memory.write(question.folder)
        if left:
            rank_zero_info(f"{len(left)} task(s) for people: {self.url}/projects/{number}/data")

    def _find(self, memory: Memory, number: int, keys: list[str]) -> None:
        """Look for tasks that are in the project already. The server may still be taking in what was sent last."""
        doubtful = [key for key in memory.sending if key in set(keys)]
        found: dict[str, list[int]] = {}
        for some in _looks([key for key in keys if key not in doubtful]):
            found |= self._api().find(number, some)
        end = memory.sending_since + _PATIENCE
        while doubtful:
            for some in _looks([key for key in doubtful if key not in found]):
                found |= self._api().find(number, some)
            if all(key in found for key in doubtful) or not time.time() < end < time.time() + 2 * _PATIENCE:
                break
            time.sleep(0.5)
        for key, numbers in found.items():
            memory.tasks[key] = SentTask(numbers[0])
            if len(numbers) > 1:
                rank_zero_warn(f"Project {number} has {len(numbers)} tasks for {key!r}; the answer is that of the oldest.")
        if found:
            memory.since = ""  # they may have answers from before
        memory.sending = []

    def _show(self, question: OpenQuestion, index: int) -> Shown:
        return self._showing(question.dataset, index)

    def _task_of(self, question: OpenQuestion, index: int, key: str, view: Shown) -> dict[str, Any]:
        control = self._control
        if control is None or self._task is None:
            raise RuntimeError("`LabelStudio` is bound to no campaign yet: have the loop `bind` it.")
        if view.kind != control.shows:
            raise ValueError(
                f"The label config shows {'an image' if control.shows == 'image' else 'a text'}, and of {key!r} there is "
                f"{'an image' if view.kind == 'image' else 'a text'}: say what to show (`show=`)."
            )
        task: dict[str, Any] = {"data": {control.field: view.value, "key": key}}
        prediction = question.prediction(index)
        if prediction is not None:
            names = self._names()
            annotation = self._task.to_annotation(prediction.label, names)
            results = to_results(annotation, control, classes=names or (), size=view.size)
            score = {} if prediction.confidence is None else {"score": prediction.confidence}
            task["predictions"] = [{"model_version": _version(question), "result": results, **score}]
        return task

    def _show_predictions(self, question: OpenQuestion, memory: Memory) -> None:
        """Have the page preselect this round's predictions; it goes by one version of the model at a time."""
        version = _version(question)
        if memory.project is None or memory.model_version == version or not question:
            return
        if any(question.prediction(index) is not None for index in question):
            try:
                self._api().show_predictions_of(memory.project, version)
            except NotThere as error:
                raise self._gone(memory.project, error) from None
            except ValueError:
                pass  # all of its tasks were there before: there is no such version
            memory.model_version = version
            memory.write(question.folder)

    # -- answers ---------------------------------------------------------------------------------------------------

    def _changed(self, memory: Memory) -> list[Any]:
        number = memory.project
        assert number is not None
        try:
            return self._api().changed(number, memory.since or _earlier("1970-01-02T00:00:00.0Z"))
        except NotThere as error:
            raise self._gone(number, error) from None

    def _answering(self, memory: Memory) -> Answering:
        if self._control is None and memory.project is not None:
            self._look_at(memory.project)
        if self._control is None or self._task is None:
            raise RuntimeError("`LabelStudio` is bound to no campaign yet: have the loop `bind` it.")
        task, names = self._task, self._names()

        def to_label(annotation: Any) -> Any:
            label = task.from_annotation(annotation, names)
            task.encode_label(label)
            return label

        def name_of(user: int) -> str:
            if str(user) not in memory.users:
                memory.users[str(user)] = self._api().name_of(user)
            return memory.users[str(user)]

        return Answering(
            self._control,
            names or (),
            to_label=to_label,
            name_of=name_of,
            agreement=self.agreement,
            annotators=self.annotators,
            unpainted=self.unpainted,
        )

    def _report(self, answered: dict[str, Answered], memory: Memory) -> None:
        problems = {key: task.problem for key, task in memory.tasks.items() if task.problem and key not in answered}
        problems |= {key: answer.problem for key, answer in answered.items() if answer.problem}
        self._warn(problems, memory, "have answers that cannot be taken, and are asked for as before")
        differing = {key: answer.disagreement for key, answer in answered.items() if answer.disagreement}
        self._warn(differing, memory, f"have answers that disagree (`agreement={self.agreement!r}` decides)")
        taken_back = {
            key: "skipped" if answer.label is SKIP else "no answer any more"
            for key, answer in answered.items()
            if memory.tasks[key].taken and not memory.tasks[key].problem and answer.label in (None, SKIP)
        }
        self._warn(taken_back, memory, "were answered before; a label that the campaign has stays (`Campaign.forget`)")

    def _warn(self, reasons: dict[str, str], memory: Memory, what: str) -> None:
        if reasons:
            some = [
                f"{key}: {reason} {self.url}/projects/{memory.project}/data?task={memory.tasks[key].id}"
                for key, reason in list(reasons.items())[:_MOST_SHOWN]
            ]
            more = "" if len(reasons) <= _MOST_SHOWN else f" And {len(reasons) - _MOST_SHOWN} more."
            rank_zero_warn(f"{len(reasons)} sample(s) in Label Studio {what}. {' '.join(some)}{more}")

    def _mistrust_restored_ledger(self, question: OpenQuestion, memory: Memory) -> None:
        """Ask for everything again where the ledger lacks answers that it had taken: it is an older copy."""
        tasks = [memory.tasks[key] for key in map(question.key, question) if key in memory.tasks]
        lost = [task for task in tasks if task.taken and not task.problem]
        for task in lost:
            task.taken = ""
        memory.since = "" if lost else memory.since


def _version(question: OpenQuestion) -> str:
    return f"round {question.round}"


def _looks(keys: list[str]) -> Iterator[list[str]]:
    """Go through keys, as many at a time as an address takes."""
    some: list[str] = []
    for key in keys:
        if some and (len(some) >= _AT_ONCE or sum(map(len, some)) + len(key) > _LONGEST_LOOK):
            yield some
            some = []
        some.append(key)
    if some:
        yield some


def _earlier(moment: str) -> str:
    """Return a time of the server's a little earlier, as its filters take it."""
    parsed = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (parsed - _OVERLAP).strftime(_TIME)
