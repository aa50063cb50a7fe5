"""What people say of samples in files, compared with a campaign and put into its ledger; without torch."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from lightning_al.campaign.events import Event, check_there, stamped, writing
from lightning_al.campaign.regions import merged, pixels_told
from lightning_al.campaign.results import PIXELS
from lightning_al.campaign.standing import Standing
from lightning_al.oracle.people.agreement import Said, agree, check_agreement
from lightning_al.oracle.people.files.entries import Entry, Reading, check_person, check_whole, understood
from lightning_al.oracle.people.files.names import Names, meant_by
from lightning_al.oracle.people.files.text import in_order
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.blobs import is_same
from lightning_al.tasks.annotations import Boxes, Mask, annotation_of, in_one_form, label_of, meaning
from lightning_al.tasks.label_sizes import check_size
from lightning_al.tasks.mask_png import kept_values, mask_blob
from lightning_al.words import counted, cut, shown

_MOST_PROBLEMS = 20
TELL = "tell"
"""Who said it, where nobody is named."""
_NOTHING = object()


class Codec(NamedTuple):
    """What makes the ledger's value of an annotation, and the annotation of the ledger's value."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class NeedsProject(ValueError):
    """Labels of this campaign cannot be taken without the project at hand."""


class Problems(ValueError):
    """What is wrong with files of labels, a line for each.

    Args:
        problems: Each with its place.
        taken: What was taken nevertheless, in words.
    """

    def __init__(self, problems: Sequence[str], taken: str = "nothing was taken") -> None:
        self.problems = list(problems)
        self.taken = taken
        super().__init__(self.problems, taken)

    def __str__(self) -> str:
        shown_ones = self.problems[:_MOST_PROBLEMS]
        lines = "".join(f"\n  {problem}" for problem in shown_ones)
        more = len(self.problems) - len(shown_ones)
        return f"{counted(len(self.problems), 'entry')} cannot be taken; {self.taken}:{lines}" + (
            f"\n  and {more} more" if more else ""
        )


@dataclass
class Told:
    """What came of telling.

    Args:
        labelled: How many samples have a new label, or another.
        skipped: How many are not to be labelled.
        unchanged: How many entries say what the campaign has already.
        blank: How many entries say nothing yet.
        void: Of how many samples nothing has a class in the part that is asked for.
        undecided: Samples of which people say different things, with no label by the rule; their names.
        disagreements: All samples of which people say different things.
        problems: What was left out, each with its place.
    """

    labelled: int = 0
    skipped: int = 0
    unchanged: int = 0
    blank: int = 0
    void: int = 0
    undecided: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {
            "labelled": self.labelled,
            "skipped": self.skipped,
            "unchanged": self.unchanged,
            "blank": self.blank,
            "without a class": self.void,
            "undecided": len(self.undecided),
        }
        text = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "labelled")
        if self.disagreements:
            few = ", ".join(self.disagreements[:5]) + ", ..." * (len(self.disagreements) > 5)
            text += f"; people disagree on {len(self.disagreements)}: {few}"
        return text


def tell_campaign(
    dirpath: str | Path,
    readings: Sequence[Reading],
    *,
    annotator: str = TELL,
    agreement: str = "latest",
    partial: bool = False,
    codec: Codec | None = None,
    cost_of: Callable[[int], float] = lambda unit: 1.0,
) -> Told:
    """Put what people said into a campaign's ledger: all of it, or nothing.

    Samples are those that the campaign asked for. What is said already is passed over, so that the same file may be
    told again. Several processes may tell at once: each waits until the one before has done.

    Args:
        dirpath: The campaign's folder.
        readings: Of :func:`~lightning_al.oracle.read_labels`, one for each file.
        annotator: Who said what is nobody's.
        agreement: What counts where several people say something of a sample, see
            :func:`~lightning_al.oracle.people.agreement.agree`.
        partial: Whether to take what is right and list the rest.
        codec: Of the task. Default: as the campaign's ledger says.
        cost_of: The price of a label, by dataset index.

    Raises:
        FileNotFoundError: If there is no campaign.
        NeedsProject: If nothing but the project itself can make labels of what people say.
        Problems: If something is wrong, unless ``partial``; nothing is taken then.
    """
    check_agreement(agreement)
    check_there(dirpath)
    with writing(Path(dirpath) / "ledger") as append:
        standing = Standing(dirpath)
        codec = _plain_codec(standing) if codec is None else codec
        told = Told()
        words, void = _words(standing, readings, told, annotator=annotator, codec=codec)
        decisions = _decide(standing, words, told, agreement=agreement, codec=codec)
        if told.problems and not partial:
            raise Problems(told.problems)
        for number, event in enumerate(_events(standing, decisions, void, told, cost_of), standing.event_count):
            append(number, event)
    return told


def _plain_codec(standing: Standing) -> Codec:
    if standing.kind is None:
        raise NeedsProject(
            f"How labels of the campaign in {standing.dirpath} are said is its task's own: give the recipe too "
            "(`-c recipe.yaml`), or `tell` in Python."
        )
    if standing.annotations.get("priced"):
        raise NeedsProject(
            f"What labels of the campaign in {standing.dirpath} cost its oracle says: give the recipe too "
            "(`-c recipe.yaml`), or `tell` in Python."
        )
    classes, count, kind = standing.classes, standing.annotations.get("count"), standing.kind

    def encode(annotation: Any) -> Any:
        if isinstance(annotation, Mask):
            return mask_blob(kept_values(annotation.values, count, [annotation.not_said]))
        label = label_of(annotation, classes, count=count)
        if kind == "class" and count is not None and label >= count:
            raise ValueError(f"{shown(annotation)} is class {label}, and the model has {count} classes.")
        return label

    return Codec(encode, lambda label: annotation_of(label, classes))


def _words(
    standing: Standing, readings: Sequence[Reading], told: Told, *, annotator: str, codec: Codec
) -> tuple[dict[int, list[Said]], dict[int, str]]:
    """Return what is said by dataset index, once for each person; take note of what is wrong.

    Apart from these are samples with nothing to label in the part that is asked for, and who says so.
    """
    told.problems += [problem for reading in readings for problem in reading.problems]
    entries = [entry for reading in readings for entry in reading.entries]
    units: dict[str, list[int]] = defaultdict(list)  # several of one name have one and the same input
    for unit in standing.samples:
        units[standing.name(unit)].append(unit)
    names = Names(units)
    people = {entry.annotator for entry in entries}
    people |= {each.annotator for sample in standing.samples.values() for each in sample.said}
    first: dict[tuple[int, str], tuple[Entry, Any]] = {}
    unknown: list[Entry] = []
    contradicted: set[int] = set()
    void: dict[int, str] = {}
    for entry in entries:
        try:
            name = names.find(entry)
            if name is None:
                unknown.append(entry)
                continue
            check_person(entry, people)
            there = [unit for unit in units[name] if unit >= 0] or units[name]
            annotations = {unit: _annotation(standing, entry, unit, codec) for unit in there}
        except (ValueError, TypeError) as error:
            told.problems.append(f"{entry.where}: {cut(error)}")
            continue
        who = entry.annotator or annotator
        told.blank += all(annotation is None for annotation in annotations.values())
        void.update((unit, who) for unit, annotation in annotations.items() if annotation is _NOTHING)
        differing = []
        for unit, annotation in annotations.items():
            if annotation is None or annotation is _NOTHING:
                continue
            earlier, other = first.setdefault((unit, who), (entry, annotation))
            if meaning(other) != meaning(annotation):
                differing.append(earlier)
                contradicted.add(unit)
        told.problems += [_contradiction(entry, earlier) for earlier in differing[:1]]
    told.problems = in_order([*told.problems, *_of_unknown(unknown, standing, len(entries))])
    words: dict[int, list[Said]] = defaultdict(list)
    for (unit, who), (_, annotation) in first.items():
        if unit not in contradicted:
            words[unit].append(Said(who, None, annotation))
    return words, {unit: who for unit, who in void.items() if unit not in words}


def _annotation(standing: Standing, entry: Entry, unit: int, codec: Codec) -> Any:
    """Return what an entry says, None if nothing yet, refusing what no label can be made of.

    ``_NOTHING`` is that nothing has a class in the part that is asked for now.
    """
    annotation = understood(entry.said, standing.kind, standing.classes)
    if annotation is None:
        return None
    count = standing.annotations.get("count")
    check_whole(entry, annotation, kind=standing.kind, classes=standing.classes, count=count)
    if not 0 <= unit < standing.size:
        raise ValueError(f"{shown(entry.key)} was not in the data any more when they were last opened.")
    if annotation is SKIP:
        return SKIP
    size = standing.samples[unit].size
    if isinstance(annotation, Boxes):
        annotation = annotation.in_pixels_of(size)

    def encode(said: Any) -> Any:
        label = codec.encode(said)
        check_size(label, size)
        return label

    asked = standing.regions.spoken_of(unit, entry.asked)
    if asked is None:
        return in_one_form(annotation, encode, codec.decode)
    if annotation.is_blank:
        part = standing.regions.open_part(unit)
        return _NOTHING if part is not None and part.name == entry.asked else None
    label, told = merged(encode(annotation), standing.samples[unit].label, asked)
    return codec.decode(label) if told else None


def _contradiction(entry: Entry, earlier: Entry) -> str:
    said = f"{shown(entry.key)} is {_said(entry.said)}, and {_said(earlier.said)} in {earlier.where}"
    who = "by the same person." if entry.annotator else "Two people are told apart by a column `annotator`."
    return f"{entry.where}: {said}{', ' if entry.annotator else '. '}{who}"


def _said(said: Any) -> str:
    return "a skip" if said is SKIP else shown(said)


def _of_unknown(unknown: list[Entry], standing: Standing, count: int) -> list[str]:
    if not unknown:
        return []
    few = [entry.key for entry in unknown[:_MOST_PROBLEMS]]
    meant = meant_by(few, map(standing.name, standing.samples))
    if len(unknown) == count and not meant:
        asked = [standing.name(unit) for unit in list(standing.samples)[-2:]]
        first = unknown[0]
        return [
            f"{first.where}: none of the {count} samples in the files, {shown(first.key)} the first, was asked for by "
            f"the campaign in {standing.dirpath}, which calls samples {', '.join(map(shown, asked)) or 'nothing yet'}. "
            "Are they another campaign's?"
        ]
    return [
        f"{entry.where}: no sample that was asked for is called {shown(entry.key)}"
        + (f"; did you mean {shown(meant[entry.key])}?" if entry.key in meant else ".")
        if entry.key
        else f"{entry.where}: the key is blank."
        for entry in unknown
    ]


class Decision(NamedTuple):
    """What counts of a sample now: the ledger's value or ``SKIP``, by whom; and what else was said."""

    label: Any
    people: tuple[str, ...]
    beside: list[tuple[str, Any]]


def _decide(
    standing: Standing, words: dict[int, list[Said]], told: Told, *, agreement: str, codec: Codec
) -> dict[int, Decision]:
    """Return what counts of each sample of which something new was said; a label of None: as before."""
    decisions = {}
    for unit, said in words.items():
        sample, name = standing.samples[unit], standing.name(unit)
        before = [replace(each, time=None, annotation=_decoded(each.annotation, codec)) for each in sample.said]
        last = {each.annotator: each.annotation for each in before}
        new = [
            each
            for each in said
            if each.annotator not in last or meaning(last[each.annotator]) != meaning(each.annotation)
        ]
        told.unchanged += len(said) - len(new)
        if not new:
            continue
        agreed = agree([*before[sample.before :], *new], agreement)
        if agreed.disagreement:
            told.disagreements.append(name)
        if agreed.annotation is None:
            told.undecided.append(name)
        if agreed.annotation is SKIP and sample.state == "labelled":
            told.problems.append(f"{name}: a skip cannot take back its label. Tell another label.")
            continue
        label = agreed.annotation
        label = label if label is None or label is SKIP else codec.encode(label)
        is_labelled = sample.label is not None and (
            is_same(label, sample.label) or _same_boxes(agreed.annotation, sample.label, codec)
        )
        is_known = sample.state == "skipped" if label is SKIP else is_labelled
        is_new = label is not None and not is_known
        counted = agreed.annotators if is_new else ()
        beside = [(each.annotator, _encoded(each.annotation, codec)) for each in new if each.annotator not in counted]
        decisions[unit] = Decision(label if is_new else None, agreed.annotators, beside)
    return decisions


def _same_boxes(annotation: Any, label: Any, codec: Codec) -> bool:
    return isinstance(annotation, Boxes) and meaning(annotation) == meaning(_decoded(label, codec))


def _encoded(annotation: Any, codec: Codec) -> Any:
    """Return what somebody said beside the label as the ledger has it: None is a skip."""
    return None if annotation is SKIP else codec.encode(annotation)


def _decoded(label: Any, codec: Codec) -> Any:
    try:
        return label if label is SKIP else codec.decode(label)
    except (ValueError, TypeError):  # of a class that has no name now
        return str(label)


def _events(
    standing: Standing,
    decisions: dict[int, Decision],
    void: dict[int, str],
    told: Told,
    cost_of: Callable[[int], float],
) -> list[Event]:
    """Return what goes to disk, first what people said beside the labels, and then the labels; and count it."""
    beside: dict[str, dict[int, Any]] = defaultdict(dict)
    answered: dict[tuple[str, ...], dict[int, Any]] = defaultdict(dict)
    skipped: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for unit, decision in decisions.items():
        for who, label in decision.beside:
            beside[who][unit] = label
        if decision.label is SKIP:
            skipped[decision.people].append(unit)
        elif decision.label is not None:
            answered[decision.people][unit] = decision.label
    events = [("said", _fields(standing, (who,), labels)) for who, labels in beside.items()]
    for people, labels in answered.items():
        fields = _fields(standing, people, labels)
        prices = [float(cost_of(unit)) for unit in labels]
        if standing.counts == PIXELS:
            prices = [price * pixels_told(label) for price, label in zip(prices, labels.values(), strict=True)]
        if any(price != 1 for price in prices):
            fields["costs"] = prices
        events.append(("answered", fields))
    events += [("skipped", {"indices": units, **_by(who)}) for who, units in skipped.items()]
    for who in dict.fromkeys(void.values()):
        events.append(("void", {"indices": [unit for unit in void if void[unit] == who], **_by((who,))}))
    told.labelled = sum(map(len, answered.values()))
    told.skipped = sum(map(len, skipped.values()))
    told.void = len(void)
    return [stamped(kind, fields) for kind, fields in events]


def _fields(standing: Standing, people: tuple[str, ...], labels: dict[int, Any]) -> dict[str, Any]:
    keys = [standing.samples[unit].key for unit in labels]
    return {"indices": list(labels), "keys": keys, "labels": list(labels.values()), **_by(people)}


def _by(people: tuple[str, ...]) -> dict[str, Any]:
    return {"annotator": ", ".join(people), **({"annotators": list(people)} if len(people) > 1 else {})}
