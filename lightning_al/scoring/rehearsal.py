"""A few samples scored first, so that what cannot work is refused before it takes long."""

from torch import Tensor

from lightning_al.acquisition.base import CHECKED, Acquisition
from lightning_al.acquisition.query import Rows
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.scoring.subject import Subject
from lightning_al.stages import CHECKING, stage
from lightning_al.tasks.base import Task


def rehearsed(subject: Subject, acquisition: Acquisition) -> int:
    """Return how many samples a rehearsal needs, so that every process has some."""
    return max(2, 2 * acquisition.batch_multiple) * max(subject.trainer.world_size, 1)


@stage(CHECKING)
def rehearse(subject: Subject, acquisition: Acquisition, indices: Tensor, *, seed: int) -> Rows:
    """Score a few samples; the task looks at the model's outputs first where :func:`looks_at_outputs`.

    Args:
        subject: What is scored.
        acquisition: Bound to its task.
        indices: Of the samples.
        seed: Of whatever draws.

    Returns:
        Their rows, where the acquisition has them.
    """
    return rows_of(subject, acquisition, indices, seed=seed, check=looks_at_outputs(subject.task, acquisition))


def looks_at_outputs(task: Task, acquisition: Acquisition) -> bool:
    """Whether the task looks at the model's outputs before anything trains."""
    return task.always_checks or bool(acquisition.requires & CHECKED)


def check_classes_known(acquisition: Acquisition, task: Task) -> None:
    """Refuse an acquisition that needs the number of classes where, after a rehearsal, the task does not know it.

    Raises:
        ValueError: With the way out.
    """
    if "classes" in acquisition.requires and task.num_classes is None:
        raise ValueError(
            f"`{type(acquisition).__name__}` needs the number of classes, which `{type(task).__name__}"
            ".num_classes` does not say. Define it, or give `clusters=`."
        )
