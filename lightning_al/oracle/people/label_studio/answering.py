"""From a Label Studio task with its annotations to one answer, or the reason why there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning_al.oracle.people.agreement import Said, agree
from lightning_al.oracle.people.label_studio.control import Control
from lightning_al.oracle.people.label_studio.results import Size, from_results
from lightning_al.oracle.regions import Region, within
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import Boxes, Mask
from lightning_al.words import cut, shown


class Answered(NamedTuple):
    """What comes of a task.

    Args:
        label: For the task of the campaign, or ``SKIP``; None: there is no answer yet.
        annotator: Who gave it.
        problem: Why there is none although somebody answered.
        disagreement: Who said what, where people disagree.
    """

    label: Any = None
    annotator: str = ""
    problem: str = ""
    disagreement: str = ""


@dataclass(frozen=True)
class Answering:
    """Reads answers of people.

    Args:
        control: The tag of the label config that takes them.
        classes: Names, by class index.
        to_label: Makes a label of an annotation, or refuses it.
        name_of: Gives the name of a user.
        agreement: Whose answer counts, see :func:`~lightning_al.oracle.people.agreement.agree`.
        annotators: How many people must have answered before there is a majority, or before a sample is skipped.
        unpainted: The class of a mask's pixels that nobody painted.
    """

    control: Control
    classes: Sequence[str]
    to_label: Callable[[Any], Any]
    name_of: Callable[[int], str]
    agreement: str
    annotators: int
    unpainted: str | None

    def __call__(
        self, task: Mapping[str, Any], size: Size | None, part: Region | None = None, *, given: Size | None = None
    ) -> Answered:
        """Return what comes of a task.

        Args:
            task: As the server gives it.
            size: Width and height of its image, where they are known.
            part: What it asks for of its sample, of which alone an answer is taken; None: all.
            given: Width and height of the image as the dataset gives it, in whose pixels boxes are labels; None: as it
                is there.
        """
        said: list[Said] = []
        problems = []
        for annotation in task.get("annotations", ()):
            who = self.name_of(annotation["completed_by"])
            try:
                what = self._annotation(annotation, size, part, given)
            except (ValueError, TypeError, KeyError) as error:
                problems.append(f"{who}: {cut(error, 200)}")
                continue
            # Whoever corrects an answer was not later than another with it, but has the last word.
            when = annotation["updated_at" if self.agreement == "latest" else "created_at"]
            said.append(Said(who, when, what))
        if not said:
            return Answered(problem=" ".join(problems))
        agreed = agree(said, self.agreement)
        words = ", ".join(f"{each.annotator}: {_short(each.annotation)}" for each in said)
        drawn = all(isinstance(each.annotation, (Boxes, Mask)) for each in said)  # no two are the same to the pixel
        disagreement = words if agreed.disagreement and not drawn else ""
        heard = len({each.annotator for each in said})
        if heard < self.annotators and (agreed.annotation is SKIP or self.agreement == "majority"):
            return Answered(problem=" ".join(problems), disagreement=disagreement)
        if agreed.annotation is None:
            return Answered(problem=f"There is no majority ({words}).")
        if part is not None and _is_blank(agreed.annotation) and not all(_is_blank(each.annotation) for each in said):
            return Answered(problem="There is no pixel of which more people say one class than another.")
        label = SKIP if agreed.annotation is SKIP else self.to_label(agreed.annotation)
        return Answered(label, agreed.annotator, disagreement=disagreement)

    def _annotation(
        self, annotation: Mapping[str, Any], size: Size | None, part: Region | None, given: Size | None
    ) -> Any:
        if annotation["was_cancelled"]:  # the page leaves what it had preselected in it
            return SKIP
        what = from_results(
            annotation["result"], self.control, classes=self.classes, size=size, unpainted=self.unpainted
        )
        if isinstance(what, Boxes):
            what = what.in_pixels_of(given)
        if part is not None and isinstance(what, Mask) and not what.is_blank:
            what = within(what, part)
            if what.is_blank:
                raise ValueError(
                    "Nothing is painted of what is asked for, but beside it. Where nothing of it has a class, submit "
                    "it with nothing painted."
                )
        self.to_label(what)  # refused here, with the name of who said it
        return what


def _is_blank(annotation: Any) -> bool:
    """Whether it says that no pixel has a class."""
    return isinstance(annotation, Mask) and annotation.is_blank


def _short(annotation: Any) -> str:
    return type(annotation).__name__.lower() if isinstance(annotation, (Boxes, Mask)) else shown(annotation)
