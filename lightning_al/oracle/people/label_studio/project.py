"""The project in Label Studio that a campaign asks in: found, made, and compared with the classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.oracle.people.label_studio.control import Control, find_control, new_config
from lightning_al.oracle.people.label_studio.memory import FILE
from lightning_al.oracle.people.label_studio.server import NotThere, Server

_BACKGROUND = ("background", "__background__")
"""What class 0 of detectors is called that is no class of a box; as torchvision calls it too."""


@dataclass
class Project:
    """A project as the options describe it.

    Args:
        wanted: Its number or title.
        url: Where Label Studio is.
        token_variable: The environment variable with the token.
        kind: What people are asked for.
        control: The name of the tag that takes the answer, if several could.
        names: Gives the names of the classes; None where nobody knows how many there are.
        unpainted: The class of pixels that nobody paints, which need not be offered.
        annotators: How many people are to answer each task.
    """

    wanted: int | str
    url: str
    token_variable: str
    kind: str
    control: str | None
    names: Callable[[], list[str] | None]
    unpainted: str | None
    annotators: int

    def __post_init__(self) -> None:
        self._server: Server | None = None
        self._control: Control | None = None

    @property
    def server(self) -> Server:
        """The server.

        Raises:
            ValueError: If there is no token.
        """
        if self._server is None:
            token = os.environ.get(self.token_variable, "").strip()
            if not token:
                raise ValueError(
                    f"The environment variable {self.token_variable} with the token for {self.url} is not set. Copy "
                    "the token of `Account & Settings` there, or name another variable: `token_variable=`."
                )
            self._server = Server(self.url, token, self.token_variable)
        return self._server

    def page(self, number: int, task: int | None = None) -> str:
        """Return the address of the project, or of one of its tasks, for people."""
        return f"{self.server.url}/projects/{number}/data" + ("" if task is None else f"?task={task}")

    def find(self) -> int | None:
        """Return its number; None if it is still to be made.

        Raises:
            ValueError: If several have this title.
        """
        if isinstance(self.wanted, int):
            return self.wanted
        numbers = self.server.projects_called(self.wanted)
        if len(numbers) > 1:
            raise ValueError(
                f"{len(numbers)} projects at {self.url} are called {self.wanted!r}: name one by its number, "
                f"{', '.join(map(str, numbers))}."
            )
        return numbers[0] if numbers else None

    def check_names(self) -> None:
        """Refuse classes of which nobody knows what they are called, once tasks are to be sent.

        Raises:
            ValueError: With what to do.
        """
        if self.names() is None and self.kind != "number":
            raise ValueError(
                "What the classes are called is not known: give the dataset `classes`, or `LabelStudio(classes=[...])`."
            )

    def make(self, shows: str) -> int:
        """Make it, for samples that are images or texts, and return its number."""
        config = new_config(self.kind, shows, self._offered(self.names()))
        number = self.server.create_project(str(self.wanted), config, self.annotators)
        rank_zero_info(f"Made the project {self.wanted!r} in Label Studio: {self.page(number)}")
        return number

    def look_at(self, number: int) -> Any:
        """Return what the server knows of it, once its label config was found to fit.

        Raises:
            ValueError: If it does not; what is missing is named.
            NotThere: If it is not there.
        """
        project = self.server.project(number)
        control = find_control(project["label_config"], self.kind, self.control)
        missing = control.missing(self._offered(self.names()))
        if missing:
            raise ValueError(
                f"The label config of project {number} ({project['title']!r}) lacks {_some(missing)} in "
                f"{control.name!r}, which has {_some(control.labels)}. Add what is missing there "
                f"({self.server.url}/projects/{number}/settings/labeling), or say what the classes are called: "
                "`classes=`."
            )
        if project["maximum_annotations"] < self.annotators:
            raise ValueError(
                f"`annotators={self.annotators}`, but project {number} ({project['title']!r}) hands each task to "
                f"{project['maximum_annotations']} only. Raise its `Annotations per task`."
            )
        self._control = control
        return project

    def control_of(self, number: int) -> Control:
        """Return the tag that takes answers, as it was when it was last looked at."""
        if self._control is None:
            control = find_control(self.server.project(number)["label_config"], self.kind, self.control)
            self._control = control
        return self._control

    def _offered(self, names: list[str] | None) -> list[str]:
        names = names or []
        if self.kind == "boxes" and names[:1] and names[0] in _BACKGROUND:
            names = names[1:]
        return [name for name in names if name != self.unpainted]


def gone(number: int, url: str, folder: Any, error: NotThere) -> RuntimeError:
    """Return the error of a project that is not there any more."""
    return RuntimeError(
        f"Project {number} is not at {url} any more ({error}). The campaign is intact, with all answers that it took. "
        f"Restore the project; or remove {folder / FILE}, and what is open is asked in a new one."
    )


def _some(names: Any) -> str:
    return ", ".join(map(repr, names[:12])) + ", ..." * (len(names) > 12)
