"""The oracle of people who label in files of one folder."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_choice, check_flag, check_type
from lightning_al.data.classes import class_names
from lightning_al.data.image_size import check_drawn, drawn_size, image_in
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.people.agreement import AGREEMENTS, Said, agree
from lightning_al.oracle.people.files.entries import Entry, Reading, check_person, check_whole, understood
from lightning_al.oracle.people.files.formats import FORMATS, read_labels, write_labels
from lightning_al.oracle.people.files.names import Names
from lightning_al.oracle.people.files.text import in_order
from lightning_al.oracle.people.pictures import picture_file
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.regions import Region, within
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import Boxes, Mask, in_one_form, meaning
from lightning_al.tasks.base import Task, annotation_kind_of
from lightning_al.tasks.keys import HASH
from lightning_al.words import counted, cut, shown

_SUFFIXES = {"csv": ".csv", "jsonl": ".jsonl", "coco": ".json", "voc": "", "png": ""}
_QUESTION = "to_label"


class LabelFiles(Oracle):
    """People label in files: each question is a new file in a folder, and every file in it is read for answers.

    A question is ``to_label_000.csv``, ``to_label_001.csv`` and so on; they are never written again. People fill them
    in, or put files of their own beside them, in the same format (``anna.csv``), a half now and a half later. ``run``
    returns ``"waiting"`` until all is answered, and goes on with ``resume=True``. Labels that were taken are corrected
    by ``tell``. Where parts of images are asked for, a picture of what is meant lies beside each mask that people fill
    in (``1.asked.png`` of ``1.png``), and nothing else of it is taken; copy both to a folder beside the questions.
    Who labelled what a column ``annotator`` says, or the name of a file beside the questions. Samples are called as the
    ledger knows them (``campaign.keys``): where several share a name, by a hash of their input, with the dataset index
    beside it; those of one and the same input share a label.

    Args:
        folder: Where the files are; made where it is not there.
        format: ``"csv"``, ``"jsonl"``, ``"coco"`` (boxes), ``"voc"`` (boxes) or ``"png"`` (masks). The last two are
            folders ``to_label_000`` of one file for each image.
        annotator: Who labels in the questions, where they name nobody.
        agreement: What counts where several people label a sample, see
            :func:`~lightning_al.oracle.people.agreement.agree`: ``"latest"``, ``"first"`` (by the order of rows, and of
            files by their names) or ``"majority"``.
        empty: Whether files that people put beside the questions are whole: an image without boxes in them has none,
            and a blank mask beside a picture says that nothing of what is asked for has a class. The questions
            themselves begin like this, and never say it. Default: nothing is said of such images yet.

    Raises:
        TypeError: If the folder is no path.
        ValueError: If another option is none of these.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import TensorDataset
        >>> import torch
        >>> from lightning_al import ClassificationTask
        >>> folder = Path(tempfile.mkdtemp())
        >>> oracle = LabelFiles(folder)
        >>> oracle.bind(TensorDataset(torch.arange(3.0)), ClassificationTask())
        >>> oracle.request([2])
        >>> oracle.poll()
        {}
        >>> file = folder / "to_label_000.csv"
        >>> _ = file.write_text(file.read_text().replace(",,", ",7,"))  # the label, which was blank
        >>> oracle.poll()
        {2: 7}
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        format: str = "csv",
        annotator: str = "files",
        agreement: str = "latest",
        empty: bool = False,
    ) -> None:
        with Findings() as findings:
            findings.of(check_type, "folder", folder, (str, Path), "a path")
            findings.of(check_choice, "format", format, FORMATS)
            findings.of(check_type, "annotator", annotator, str, "a name")
            findings.of(check_choice, "agreement", agreement, AGREEMENTS)
            findings.of(check_flag, "empty", empty)
        self.folder = Path(folder)
        self.format = format
        self.annotator = annotator
        self.agreement = agreement
        self.empty = empty
        self._dataset: Dataset | None = None
        self._task: Task | None = None
        self._asked: dict[str, list[int]] = {}
        self._parts: dict[int, Region] = {}
        self._sizes: dict[int, tuple[int, int] | None] = {}
        self._who: dict[int, str] = {}

    def bind(self, dataset: Dataset, task: Task) -> None:
        """Take the loop's dataset and task, which name samples and classes.

        Raises:
            ValueError: If the task asks for regions of samples, of which other files than PNGs do not say which, or
                the dataset stretches images in whose files people draw boxes.
        """
        if task.region_kind is not None and self.format != "png":
            raise ValueError(
                f"`LabelFiles(format={self.format!r})` has no room for what `{type(task).__name__}` asks for, "
                f'{task.region_kind} of samples: take `format="png"`.'
            )
        check_drawn(dataset, task)
        self._dataset, self._task = dataset, task
        self._asked, self._parts, self._sizes = {}, {}, {}

    def _bound(self) -> tuple[Dataset, Task]:
        if self._dataset is None or self._task is None:
            raise RuntimeError("`LabelFiles` has no dataset yet: have the loop `bind` it.")
        return self._dataset, self._task

    def annotator_of(self, index: int) -> str:
        """Return who labelled a sample."""
        return self._who.get(index, self.annotator)

    def request(self, indices: Sequence[int]) -> None:
        """Write what no file asks for yet into a new one."""
        dataset, task = self._bound()
        key_of = indices.key if isinstance(indices, OpenQuestion) else functools.partial(task.key, dataset)
        self._asked = {}
        for index in indices:
            self._asked.setdefault(key_of(index), []).append(index)
        parts = {i: indices.part(i) for i in indices} if isinstance(indices, OpenQuestion) else {}
        self._parts = {index: part for index, part in parts.items() if part is not None}
        self._sizes = {i: indices.size(i) for i in indices} if isinstance(indices, OpenQuestion) else {}
        names = Names(self._asked)
        entries_there = [(names.find(entry), entry) for _, reading in self._readings() for entry in reading.entries]
        known = {key for key, entry in entries_there if key is not None and self._is_of(entry, key)}
        new = {key: same[0] for key, same in self._asked.items() if key not in known}
        if not new:
            return
        nameless = any(key.startswith(HASH) for key in new)
        needs_size = self.format in ("coco", "voc", "png")
        entries = [
            Entry(
                key,
                size=drawn_size(dataset, index, task) if needs_size else None,
                index=index if nameless else None,
                picture=functools.partial(self._picture, index) if index in self._parts else None,
            )
            for key, index in new.items()
        ]
        write_labels(self._next(), entries, self.format, classes=class_names(dataset), kind=annotation_kind_of(task))

    def _is_of(self, entry: Entry, key: str) -> bool:
        """Whether a file that asks for a sample asks for what is asked now."""
        parts = [self._parts.get(index) for index in self._asked[key]]
        return all(part is None or entry.asked == part.name for part in parts)

    def _picture(self, index: int) -> bytes:
        dataset, task = self._bound()
        return picture_file(image_in(dataset, index, task), self._parts[index])

    def _next(self) -> Path:
        number = 0
        while (path := self.folder / f"{_QUESTION}_{number:03d}{_SUFFIXES[self.format]}").exists():
            number += 1
        return path

    def _readings(self) -> list[tuple[str, Reading]]:
        """Return who labels in each file, and what is in it."""
        suffix = _SUFFIXES[self.format]
        paths = sorted(path for path in self.folder.glob(f"*{suffix}") if suffix or path.is_dir())
        are_questions = [path.stem.startswith(_QUESTION) for path in paths]
        return [
            (
                self.annotator if is_question else path.stem,
                read_labels(path, self.format, empty=self.empty and not is_question),
            )
            for path, is_question in zip(paths, are_questions, strict=True)
        ]

    def poll(self) -> dict[int, Any]:
        """Return what the files say of the samples that are asked for.

        Raises:
            ValueError: If something in them is wrong, a line for each; nothing is taken then.
        """
        dataset, task = self._bound()
        kind, classes, names = annotation_kind_of(task), class_names(dataset), Names(self._asked)
        first: dict[tuple[int, str], tuple[Entry, Any]] = {}
        readings = self._readings()
        people = {entry.annotator for _, reading in readings for entry in reading.entries}

        def encode(annotation: Any) -> Any:
            return task.encode_label(task.from_annotation(annotation, classes))

        def decode(label: Any) -> Any:
            return task.to_annotation(task.decode_label(label), classes)

        problems = [problem for _, reading in readings for problem in reading.problems]
        for file_of, entry in ((who, entry) for who, reading in readings for entry in reading.entries):
            try:
                key = names.find(entry)
                said = None if key is None else understood(entry.said, kind, classes)
                if key is None or said is None:
                    continue
                for index in self._asked[key]:
                    annotation = self._said_of(index, entry, said)
                    if annotation is None:
                        continue
                    check_whole(entry, annotation, kind=kind, classes=classes, count=task.num_names)
                    check_person(entry, people)
                    if annotation is not SKIP:
                        annotation = in_one_form(annotation, encode, decode)
                    earlier, other = first.setdefault((index, entry.annotator or file_of), (entry, annotation))
                    if meaning(other) != meaning(annotation):
                        raise ValueError(f"{shown(entry.key)} is {shown(entry.said)}, and another in {earlier.where}.")
            except (ValueError, TypeError) as error:
                problems.append(f"{entry.where}: {cut(error)}")
        if problems:
            lines = "".join(f"\n  {problem}" for problem in in_order(problems)[:20])
            raise ValueError(
                f"{counted(len(problems), 'entry')} of {self.folder} cannot be taken, and nothing was:{lines}"
            )
        answers: dict[int, Any] = {}
        words_of: dict[int, list[Said]] = defaultdict(list)
        for (index, who), (_, annotation) in first.items():
            words_of[index].append(Said(who, None, annotation))
        for index, words in words_of.items():
            agreed = agree(words, self.agreement)
            if agreed.annotation is not None:
                is_skip = agreed.annotation is SKIP
                answers[index] = SKIP if is_skip else task.from_annotation(agreed.annotation, classes)
                self._who[index] = agreed.annotator
        return answers

    def _said_of(self, index: int, entry: Entry, said: Any) -> Any:
        """Return what an entry says of what is asked of a sample, in its image's pixels; None: nothing yet."""
        part = self._parts.get(index)
        if part is not None and isinstance(said, Mask):
            if entry.asked not in ("", part.name):  # an answer to an earlier question
                return None
            annotation = within(said, part)
            return None if annotation.is_blank and not (said.is_blank and entry.asked) else annotation
        return said.in_pixels_of(self._sizes.get(index)) if isinstance(said, Boxes) else said
