"""What a campaign knows of its project in Label Studio, in a file beside the ledger."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_al.storage.files import atomic_write

FILE = "label_studio.json"


@dataclass
class SentTask:
    """A task there.

    Args:
        id: Its number.
        size: Width and height of its image, where answers need them.
        taken: When it last changed before its answer was put on disk.
        problem: Why it has no answer yet although somebody said something.
    """

    id: int
    size: tuple[int, int] | None = None
    taken: str = ""
    problem: str = ""

    def __post_init__(self) -> None:
        self.size = None if self.size is None else (self.size[0], self.size[1])  # JSON has lists


@dataclass
class Memory:
    """What is known of the project. Without it everything is found again, by title and keys.

    Args:
        asked_for: The option ``project``.
        project: The project's number.
        model_version: The predictions that people are shown.
        since: The last change in the project whose answers are on disk.
        sending: Keys of tasks that were being sent; empty once their numbers are known.
        sending_since: When that began, in seconds.
        tasks: By key.
        users: What users are called, by number.
    """

    asked_for: int | str = ""
    project: int | None = None
    model_version: str = ""
    since: str = ""
    sending: list[str] = field(default_factory=list)
    sending_since: float = 0.0
    tasks: dict[str, SentTask] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Memory":
        """Return the memory of the campaign in a folder, an empty one where there is none.

        Raises:
            ValueError: If the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            fields: dict[str, Any] = json.loads(path.read_text())
            tasks = {key: SentTask(**task) for key, task in fields.pop("tasks").items()}
            return cls(**fields, tasks=tasks)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(
                f"{path} is damaged ({error}). Remove it: the project is found again by its title, and its tasks by "
                "their keys."
            ) from None

    def write(self, folder: Path) -> None:
        """Put it on disk, whole or not at all."""
        with atomic_write(folder / FILE) as file:
            file.write(json.dumps(asdict(self)).encode())
