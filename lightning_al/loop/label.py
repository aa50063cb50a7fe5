"""From answers to labels: what an oracle or a person says goes to the ledger first."""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_al.campaign.blobs_sent import readable_everywhere
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.data.pool import Indices
from lightning_al.loop.parts import of_asked, prices_of
from lightning_al.loop.predict import predictions_kept
from lightning_al.loop.project import Project
from lightning_al.oracle.answers import Answers, sort_answers
from lightning_al.oracle.base import Unreachable
from lightning_al.oracle.people.files.names import meant_by
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.skip import DATASET
from lightning_al.tasks.base import Task
from lightning_al.tasks.mask_png import is_blank
from lightning_al.words import shown

_MOST_UNKNOWN = 5
_BLANK = "No pixel of the mask has a class. A sample that is not to be labelled is `SKIP`."

Places = Callable[[Collection[str]], dict[str, int]]
"""Gives the dataset indices of the samples of these names, those that there are."""

KeyOf = Callable[[int], str | None]
"""Gives the key of a dataset index, or None where it is not known."""


def units_of(campaign: Campaign, samples: Indices | Sequence[str], places: Places) -> list[list[int]]:
    """Return the dataset indices of samples that are given by their indices or by their keys: equal inputs have one.

    Args:
        campaign: The open campaign, or as it was last opened.
        samples: All indices, or all keys.
        places: Finds samples that were never asked for by their names.

    Raises:
        TypeError: If they are neither.
        ValueError: If there is no sample of a key, or one is repeated.
        IndexError: If an index is outside the dataset.
    """
    if not isinstance(samples, (list, tuple)) or not samples or not all(isinstance(each, str) for each in samples):
        return [[unit] for unit in campaign.pool.check(samples)]  # type: ignore[arg-type]
    of_key: dict[str, list[int]] = {}
    for unit, key in campaign.keys.items():
        of_key.setdefault(key, []).append(unit)
    others = [str(key) for key in samples if key not in of_key]
    of_key |= {key: [unit] for key, unit in places(others).items()} if others else {}
    unknown = [key for key in others if key not in of_key]
    if unknown:
        few = unknown[:_MOST_UNKNOWN]
        meant = meant_by(few, of_key)
        names = ", ".join(f"{key!r} (did you mean {meant[key]!r}?)" if key in meant else repr(key) for key in few)
        more = ", ..." * (len(unknown) > len(few))
        name = "names" if len(unknown) == 1 else "name"
        raise ValueError(
            f"{len(unknown)} of {len(samples)} keys {name} no sample: {names}{more}. "
            "`Campaign.keys` has the keys of all that was asked for."
        )
    units = [of_key[str(key)] for key in samples]
    campaign.pool.check([unit for same in units for unit in same])
    return units


def write_answers(
    campaign: Campaign,
    answers: Answers,
    *,
    annotator_of: Callable[[int], str],
    key_of: KeyOf,
    prices: Callable[[Mapping[int, Any]], list[float]],
) -> list[Event]:
    """Put answers on disk, then take note of them, and return their events.

    Args:
        campaign: The open campaign.
        answers: What was said.
        annotator_of: By whom, for each dataset index.
        key_of: For samples that were never asked for.
        prices: Gives what labels cost, as the ledger has them, by dataset index.
    """
    events: list[Event] = []

    def write(kind: str, **fields: Any) -> None:
        events.append(campaign.write(kind, **fields))
        campaign.apply(events[-1])

    for annotator, indices in _by(annotator_of, answers.labels).items():
        fields: dict[str, Any] = {
            "indices": indices,
            "keys": [campaign.keys.get(i) or key_of(i) for i in indices],
            "labels": [answers.labels[i] for i in indices],
            "annotator": annotator,
        }
        paid = prices({i: answers.labels[i] for i in indices})
        if any(price != 1 for price in paid):
            fields["costs"] = paid
        write("answered", **fields)
    for annotator, indices in _by(annotator_of, answers.skipped).items():
        keys = [campaign.keys.get(i) or key_of(i) for i in indices]
        write("skipped", indices=indices, keys=keys, annotator=annotator)
    for annotator, indices in _by(annotator_of, answers.void).items():
        write("void", indices=indices, annotator=annotator)
    return events


def answers_of(
    campaign: Campaign, samples: Indices | Sequence[str], labels: Iterable[Any], *, task: Task, places: Places
) -> Answers:
    """Return what is told of samples, refusing all of it if some cannot be taken; errors as of the loop's ``tell``."""
    units = units_of(campaign, samples, places)
    if not isinstance(labels, Iterable):
        raise TypeError(f"Expected a list of labels, one for each index, got {shown(labels)}.")
    values = list(labels)
    if len(units) != len(values):
        raise ValueError(f"`tell` got {len(units)} indices and {len(values)} labels.")
    classes = campaign.annotations.get("classes")
    said = {unit: value for same, value in zip(units, values, strict=True) for unit in same}
    answers = sort_answers(said, task, classes, campaign.sizes)
    if task.annotation_kind == "mask":
        blank = [i for i, label in answers.labels.items() if is_blank(label) and not campaign.regions.is_asked(i)]
        answers.refused.update(dict.fromkeys(blank, _BLANK))
    answers = of_asked(campaign, answers)
    answers.check()
    pool = campaign.pool
    labelled = [i for i in answers.skipped if pool.is_labelled(i) and not pool.is_pending(i)]
    if labelled:
        raise ValueError(f"`SKIP` cannot take back a label that was told: {labelled[:10]}. Tell another label.")
    return answers


def release(campaign: Campaign, indices: Indices) -> None:
    """Put on disk that pending samples are given back.

    Raises:
        ValueError: If one of them is not pending; nothing is written then.
    """
    units = campaign.pool.check(indices)
    campaign.pool.check_pending(units)
    campaign.apply(campaign.write("released", indices=units))


def _by(annotator_of: Callable[[int], str], indices: Iterable[int]) -> dict[str, list[int]]:
    of_annotator: dict[str, list[int]] = {}
    for index in indices:
        of_annotator.setdefault(annotator_of(index), []).append(index)
    return of_annotator


def collect_answers(campaign: Campaign, project: Project) -> None:
    """Ask the oracle, on rank 0, for all that is pending, and take what answers there are on every rank.

    Where the annotators cannot be reached, that is said, and there are none.

    Raises:
        TypeError: For labels that cannot be taken, once the others are on disk.
        OSError: If the campaign's folder cannot be written to; nobody is asked then.
    """
    oracle = project.oracle

    def ask_and_write() -> list[Event]:
        campaign.check_writable()
        try:
            answers = _answers(campaign, project)
        except Unreachable as error:
            rank_zero_warn(f"{error} The campaign is intact, and waits as if nobody had answered.")
            return []
        # What answers a question is new although it says of a sample what its label says already.
        known = {i: label for i, label in campaign.labels.items() if not campaign.pool.is_pending(i)}
        changed = answers.of_changed(known, campaign.pool.skipped.tolist(), campaign.pool.pending.tolist())
        events = write_answers(
            campaign,
            changed,
            annotator_of=oracle.annotator_of,
            key_of=project.data.key,
            prices=functools.partial(prices_of, oracle, project.task),
        )
        answers.check()
        oracle.acknowledge()
        return events

    events = readable_everywhere(campaign.ranks.first(ask_and_write), campaign.ranks)
    if not campaign.ranks.is_first:
        for event in events:
            campaign.apply(event)


def _answers(campaign: Campaign, project: Project) -> Answers:
    oracle = project.oracle
    oracle.request(open_question(campaign, project))
    answers = oracle.poll()
    if not isinstance(answers, dict):
        raise TypeError(
            f"`{type(oracle).__name__}.poll` must return a dict of labels by dataset index (empty while there are "
            f"none), got {type(answers).__name__}."
        )
    indices = campaign.pool.check(list(answers))
    said = dict(zip(indices, answers.values(), strict=True))
    classes = campaign.annotations.get("classes")
    # The dataset's own are of the draw of the image that they were read with.
    sizes = {} if oracle.annotator == DATASET else campaign.sizes
    return of_asked(campaign, sort_answers(said, project.task, classes, sizes))


def open_question(campaign: Campaign, project: Project) -> OpenQuestion:
    """Return what is pending, for the oracle."""
    return OpenQuestion(
        campaign.pool.pending.tolist(),
        dataset=project.data.samples.shown,
        folder=campaign.dirpath,
        keys=campaign.keys,
        region_of=campaign.regions.open_part,
        regions_of=campaign.regions.parts,
        sizes=campaign.sizes,
        round=campaign.next_round - 1,
        predict=functools.partial(predictions_kept, campaign, project.task),
    )
