"""The oracle that asks by way of a project in Label Studio."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_choice, check_count, check_that, check_type
from lightning_al.data.classes import class_names
from lightning_al.data.image_size import check_drawn
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.people.agreement import check_agreement
from lightning_al.oracle.people.label_studio.answering import Answered, Answering
from lightning_al.oracle.people.label_studio.asked import asked_of, task_key, together_of
from lightning_al.oracle.people.label_studio.control import KINDS
from lightning_al.oracle.people.label_studio.memory import FILE, Memory
from lightning_al.oracle.people.label_studio.project import Project, gone
from lightning_al.oracle.people.label_studio.sending import Sending
from lightning_al.oracle.people.label_studio.server import NotThere
from lightning_al.oracle.people.label_studio.showing import Show, Showing
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.base import Task
from lightning_al.words import shown

_OVERLAP = timedelta(seconds=5)  # within which changes may come to light in another order
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # as the server's filters take it, and no other
_FIRST = "1970-01-01T00:00:00.000000Z"
_MOST_SHOWN = 3


class LabelStudio(Oracle):
    """Asks people by way of a project in Label Studio, and takes their answers from there.

    Each picked sample becomes a task, best first, in which the model's own answer is chosen already. ``run`` returns
    while answers are missing; run it again with ``resume=True`` to go on. Every time it takes what changed since,
    corrections of earlier answers too. Samples go by their keys: one that has a task in the project already gets no
    other, and campaigns that share a project share its answers.

    Where a part of an image is asked for, the image is dark outside of it, and no more of an answer is taken. An image
    that is asked for again in another round has another task.

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
            that returns a text, the path of an image, or an image. Default: the file that the dataset lists for it,
            what its ``sample_text(index)`` says, or else the first entry that is a text or an image.
        files: The folder from which the server serves files, its ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``; images
            must be in folders below it, and pictures of parts of images are written to one. Default: images are sent
            inside the tasks, at most 1 MiB each.
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
        self._memory = Memory()
        self._question: OpenQuestion | None = None
        self._annotators: dict[int, str] = {}
        self._taken: dict[str, tuple[str, str]] = {}  # by key, when it changed, and the problem, for `acknowledge`
        self._since = ""

    def __repr__(self) -> str:
        return f"LabelStudio({self.project!r}, url={self.url!r})"

    # -- before a campaign -----------------------------------------------------------------------------------------

    def bind(self, dataset: Dataset, task: Task) -> None:
        """Take note of dataset and task, and refuse a task of which it is not known what people are to say.

        Raises:
            ValueError: With the kinds that there are, or if regions of samples are asked for and no masks, or the
                dataset stretches images in whose files people draw boxes.
        """
        self._dataset, self._task = dataset, task
        kind = task.annotation_kind if self.kind is None else self.kind
        if kind is None:
            raise ValueError(
                f"`{type(task).__name__}` does not say what people are to say of a sample: give "
                f"`LabelStudio(kind=...)`, one of {', '.join(map(repr, KINDS))}."
            )
        if task.region_kind is not None and kind != "mask":
            raise ValueError(
                f"`{type(task).__name__}` asks for {task.region_kind} of samples, which are answered by masks: got "
                f"`LabelStudio(kind={kind!r})`."
            )
        if self.show is None:
            check_drawn(dataset, task)
        project = Project(
            wanted=self.project,
            url=self.url,
            token_variable=self.token_variable,
            kind=kind,
            control=self.control,
            names=self._names,
            unpainted=self.unpainted,
            annotators=self.annotators,
        )
        showing = Showing(self.show, self.files, with_size=kind in ("boxes", "mask"), task=task)
        self._sending = Sending(project, showing, task)

    def _names(self) -> list[str] | None:
        """Return the names of the classes; None where nobody knows how many there are."""
        if self.classes is not None:
            return [str(name) for name in self.classes]
        count = None if self._task is None else self._task.num_classes
        names = None if self._dataset is None else class_names(self._dataset)
        return names if names is not None or count is None else [str(number) for number in range(count)]

    def check(self) -> None:
        """Refuse a server that does not answer, a token it does not take, and a project that does not fit the classes.

        Raises:
            ConnectionError: If there is no answer.
            PermissionError: If the token is refused.
            ValueError: If there is no such project, or its label config lacks something.
        """
        project = self._sending.project
        number = project.find()
        if number is not None:
            try:
                project.look_at(number)
            except NotThere as error:
                raise ValueError(f"There is no project {number} at {self.url} for the user of this token.") from error

    # -- questions and answers -------------------------------------------------------------------------------------

    def request(self, indices: Sequence[int]) -> None:
        """Send what is not there yet, a hundred tasks a request."""
        if not isinstance(indices, OpenQuestion):
            raise TypeError("`LabelStudio` needs the loop's question, with samples and keys, not their indices alone.")
        question, memory = indices, Memory.read(indices.folder)
        self._question, self._memory, self._taken, self._since = question, memory, {}, memory.since
        if memory.project is not None and memory.asked_for != self.project:
            raise ValueError(
                f"The campaign asks in project {memory.project} (`project={memory.asked_for!r}`), and goes on there; "
                f"got `project={self.project!r}`. To ask elsewhere from now on remove {question.folder / FILE}."
            )
        self._mistrust_restored_ledger(question, memory)
        with self._explained():
            self._sending.send(question, memory)
            self._sending.show_predictions(question, memory)

    def poll(self) -> dict[int, Any]:
        """Return the answers of tasks that changed since the last ones that were acknowledged; one request."""
        memory, question = self._memory, self._question
        if memory.project is None or question is None:
            return {}
        with self._explained():
            changed = self._sending.project.server.changed(memory.project, memory.since or _FIRST)
            answered = self._read(changed, memory, question)
        self._since = max([memory.since, *(_earlier(task["updated_at"]) for task in changed)])
        self._report(answered, memory)
        answers, held = together_of(question, answered)
        for key in held:
            changed_then, _ = self._taken.pop(key)
            self._since = min(self._since, _earlier(changed_then))
        self._annotators |= {index: answer.annotator for index, answer in answers.items()}
        return {index: answer.label for index, answer in answers.items()}

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

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NotThere as error:
            if self._memory.project is None or self._question is None:
                raise
            raise gone(self._memory.project, self.url, self._question.folder, error) from None

    # -- answers ---------------------------------------------------------------------------------------------------

    def _read(self, changed: Sequence[Any], memory: Memory, question: OpenQuestion) -> dict[str, Answered]:
        """Return what comes, by key, of the tasks of this campaign that changed and were not taken so before."""
        key_of = {task.id: key for key, task in memory.tasks.items()}
        ours = [(key_of[task["id"]], task) for task in changed if task["id"] in key_of]
        new = [(key, task) for key, task in ours if memory.tasks[key].taken != task["updated_at"]]
        if not any(task["annotations"] or memory.tasks[key].taken for key, task in new):
            return {}
        answering = self._answering(memory)
        asked = {key: samples[0] for key, samples in asked_of(question).items()}
        answered = {
            key: answering(
                task,
                memory.tasks[key].size,
                asked[key].part if key in asked else None,
                given=question.size(asked[key].index) if key in asked else None,
            )
            for key, task in new
        }
        self._taken |= {
            key: (task["updated_at"], answered[key].problem)
            for key, task in new
            if answered[key].label is not None or answered[key].problem
        }
        return answered

    def _answering(self, memory: Memory) -> Answering:
        project, names, task = self._sending.project, self._names(), self._sending.task

        def to_label(annotation: Any) -> Any:
            label = task.from_annotation(annotation, names)
            task.encode_label(label)
            return label

        def name_of(user: int) -> str:
            if str(user) not in memory.users:
                memory.users[str(user)] = project.server.name_of(user)
            return memory.users[str(user)]

        return Answering(
            project.control_of(int(memory.project or 0)),
            classes=names or (),
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
                f"{key}: {reason} ({self._sending.project.page(int(memory.project or 0), memory.tasks[key].id)})"
                for key, reason in list(reasons.items())[:_MOST_SHOWN]
            ]
            more = "" if len(reasons) <= _MOST_SHOWN else f" And {len(reasons) - _MOST_SHOWN} more."
            rank_zero_warn(f"{len(reasons)} sample(s) in Label Studio {what}. {' '.join(some)}{more}")

    def _mistrust_restored_ledger(self, question: OpenQuestion, memory: Memory) -> None:
        """Ask for everything again where the ledger lacks answers that it had taken: it is an older copy."""
        keys = [task_key(question.key(index), question.part(index)) for index in question]
        tasks = [memory.tasks[key] for key in keys if key in memory.tasks]
        lost = [task for task in tasks if task.taken and not task.problem]
        for task in lost:
            task.taken = ""
        memory.since = "" if lost else memory.since


def _earlier(moment: str) -> str:
    """Return a time of the server's a little earlier, as its filters take it."""
    parsed = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (parsed - _OVERLAP).strftime(_TIME)
