"""Several acquisitions side by side in one round: which can take part, what each would ask for, and one asked for."""

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al import acquisition as acquisitions_room
from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import Findings
from lightning_al.data.pool import Pool
from lightning_al.data.readable import readable
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.loop.project import Project
from lightning_al.loop.question import Question, question_of
from lightning_al.loop.record import options_of
from lightning_al.loop.session import Session
from lightning_al.scoring.company import check_company
from lightning_al.scoring.looks import looked_at, mean_nearest
from lightning_al.scoring.pick import Candidates, Pick
from lightning_al.scoring.race_result import Raced, RaceResult
from lightning_al.scoring.rehearsal import check_classes_known, rehearse, rehearsed
from lightning_al.words import did_you_mean, shown

Racers: TypeAlias = Sequence[Acquisition | str] | Mapping[str, Acquisition | str]
"""Acquisitions, or names of their classes; in a mapping with names of their own."""

_FILE = "race"
_MOST_CLASSES = 1000  # that picks are counted by


# -- who takes part ------------------------------------------------------------------------------------------------


def racers_of(acquisitions: Racers) -> dict[str, Acquisition]:
    """Return acquisitions by the names that they have in a race.

    An acquisition is called by its class; where several are of one class, with the options that are not the defaults.

    Raises:
        TypeError: If one is no acquisition.
        ValueError: If there is none, one is not known, or there twice.
    """
    if isinstance(acquisitions, (str, Acquisition)) or not isinstance(acquisitions, Iterable):
        raise TypeError(f"`acquisitions` must be a list of acquisitions or of their names, got {shown(acquisitions)}.")
    given = acquisitions.items() if isinstance(acquisitions, Mapping) else ((None, each) for each in acquisitions)
    named: list[tuple[str | None, Acquisition]] = []
    with Findings() as findings:
        for name, each in given:
            if name is not None and not (isinstance(name, str) and name):
                findings.refuse(f"Names of acquisitions must be words, got {shown(name)}.")
            with findings.of_block():
                named.append((name, _made(each)))
        findings.refuse_if(
            not named and not findings.errors,
            "`acquisitions` is empty: a race needs some, as `[Entropy(), SAAL()]`.",
        )
        _find_twice(findings, [each for _, each in named])
    kinds = [type(each) for _, each in named]
    return {name or _called(each, by_options=kinds.count(type(each)) > 1): each for name, each in named}


def _made(racer: Any) -> Acquisition:
    if isinstance(racer, Acquisition):
        return racer
    known = [name for name in acquisitions_room.__all__ if name != "Acquisition"]
    if isinstance(racer, str):
        if racer in known:
            made: Acquisition = getattr(acquisitions_room, racer)()
            return made
        meant = did_you_mean(racer, known)
        there_are = "" if meant else f" There are {', '.join(known)}."
        raise ValueError(f"There is no acquisition {shown(racer)}{meant}.{there_are}")
    if isinstance(racer, type) and issubclass(racer, Acquisition):
        raise TypeError(f"{racer.__name__} among the acquisitions is a class; write `{racer.__name__}()`.")
    raise TypeError(f"Acquisitions must be as `Entropy()`, or names of their classes, got {shown(racer)}.")


def _find_twice(findings: Findings, racers: Sequence[Acquisition]) -> None:
    for number, one in enumerate(racers):
        if any(_alike(one, other) for other in racers[:number]):
            findings.refuse(
                f"`{_called(one, by_options=True)}` is among the acquisitions twice, and would pick the same twice. "
                "Leave one out, or give it another option."
            )


def _alike(one: Acquisition, other: Acquisition) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and options_of(one) == options_of(other) and _modules(one) == _modules(other)


def _modules(acquisition: Acquisition) -> list[int]:
    """Tell networks apart, of which options say no more than the class."""
    return [id(value) for value in vars(acquisition).values() if isinstance(value, torch.nn.Module)]


def _called(acquisition: Acquisition, *, by_options: bool) -> str:
    name = type(acquisition).__name__
    parameters = inspect.signature(type(acquisition)).parameters.values() if by_options else ()
    said = []
    for parameter in parameters:
        value = getattr(acquisition, parameter.name, parameter.default)
        if isinstance(value, torch.nn.Module):
            value = type(value).__name__
        if value is not parameter.default and value != parameter.default:
            said.append(f"{parameter.name}={value}")
    return f"{name}({', '.join(said)})" if said else name


def check_racers(session: Session, racers: Mapping[str, Acquisition]) -> None:
    """Bind acquisitions, and refuse those that cannot take part, all in one error, before anything is trained.

    Raises:
        TypeError: If the model is of a kind that one cannot work with.
        ValueError: With what is wrong with which.
    """
    project = session.project
    if project.task.region_kind is not None:
        raise ValueError(
            f"A race compares whole samples, and `{type(project.task).__name__}` asks for {project.task.region_kind}. "
            "Ask with one acquisition after the other, in campaigns of their own."
        )
    with Findings() as findings:
        for name, racer in racers.items():
            can_be_tried = findings.of(_named, name, _check_apart, project, racer)
            if can_be_tried and racer is not project.acquisition:  # which was tried when the campaign was opened
                findings.of(_named, name, _try, session, racer)


def _named(name: str, check: Callable[..., None], *args: Any) -> None:
    """Call a check, and say of whom what it refuses is."""
    try:
        check(*args)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_apart(project: Project, racer: Acquisition) -> None:
    if racer.takes_part_in_fits and racer is not project.acquisition:
        raise ValueError(
            f"`{_called(racer, by_options=True)}` needs {racer.needs_of_campaign}, in which only the acquisition among "
            "the Trainer's callbacks takes part. Put it there, and race the same object."
        )
    if racer is not project.acquisition:
        racer.bind(project.task, project.oracle)
    racer.check_pool(len(project.data.samples))
    racer.check_model(project.model)


def _try(session: Session, racer: Acquisition) -> None:
    """Score a few samples."""
    project, seed = session.project, session.settings.seed
    if racer.sees_samples or racer.requires or project.task.always_checks:
        size = len(project.data.samples)
        order = Pool(size).candidates(generator=generator(seed, "rehearsal"))
        few = readable(project.data.pool_set, order.tolist(), min(size, rehearsed(project, racer)))
        rehearse(project, racer, torch.tensor(few, dtype=torch.long), seed=derive_seed(seed, 0, "score"))
    check_classes_known(racer, project.task)
    check_company(project, racer, seed=seed)


def release_racers(session: Session, racers: Iterable[Acquisition]) -> None:
    """Let acquisitions leave the loop, but for the campaign's own."""
    for racer in racers:
        if racer is not session.project.acquisition:
            racer.unbind()


# -- what they would ask for ---------------------------------------------------------------------------------------


def result_of(
    session: Session,
    candidates: Candidates,
    racers: Mapping[str, Acquisition],
    picked: Sequence[Pick],
    *,
    k: int,
    start: float,
) -> RaceResult:
    """Put picks beside each other, and keep them with the campaign; the same on every rank.

    Args:
        session: Of the campaign.
        candidates: What the picks are from.
        racers: By name.
        picked: Theirs, in the same order.
        k: How many each was to pick.
        start: When the race began, by ``time.perf_counter``.
    """
    project, ranks = session.project, session.campaign.ranks
    union = torch.tensor(sorted({index for pick in picked for index in pick.indices}), dtype=torch.long)
    everyone = torch.cat([union, candidates.labelled])
    looks = looked_at(project, everyone, seed=candidates.scoring_seed)

    def make() -> RaceResult:
        place = {index: number for number, index in enumerate(union.tolist())}
        classes, names, classes_are = _classes_of(session, union, looks)
        features = looks.get("features")
        raced = []
        for (name, racer), pick in zip(racers.items(), picked, strict=True):
            rows = torch.tensor([place[index] for index in pick.indices], dtype=torch.long)
            near, apart = float("nan"), float("nan")
            if features is not None:
                near = mean_nearest(features[rows], features[len(union) :])
                apart = mean_nearest(features[rows])
            counts = [] if classes is None else torch.bincount(classes[rows], minlength=len(names)).tolist()
            raced.append(
                Raced(
                    name=name,
                    options=options_of(racer),
                    indices=pick.indices,
                    keys=[None if key is None else str(key) for key in map(project.data.key, pick.indices)],
                    scores=pick.scores,
                    seconds=dict(pick.seconds),
                    forward=pick.forward,
                    classes=counts,
                    to_labelled=near,
                    apart=apart,
                )
            )
        result = RaceResult(
            round=candidates.round,
            labelled=len(candidates.labelled),
            candidates=len(candidates.indices),
            k=k,
            classes=tuple(names),
            classes_are=classes_are,
            raced=tuple(raced),
            seconds=time.perf_counter() - start,
            digest=_digest(candidates),
        )
        session.campaign.states.save(session.campaign.round_file(_FILE), result.as_state())
        return result

    return ranks.first(make)


def _classes_of(session: Session, indices: Tensor, looks: Mapping[str, Tensor]) -> tuple[Tensor | None, list[str], str]:
    """Return the class of each sample, the names of all classes, and whose word it is; none where there are none."""
    project, task = session.project, session.project.task
    if task.annotation_kind != "class":
        return None, [], ""
    classes, classes_are = looks.get("class"), "predicted"
    if project.oracle.simulated:
        labels = [int(project.truth.label(index)) for index in indices.tolist()]
        classes, classes_are = torch.tensor(labels, dtype=torch.long), "true"
    if classes is None or bool((classes < 0).any()):
        return None, [], ""
    classes = classes[: len(indices)]
    count = max(int(classes.max()) + 1 if len(classes) else 0, task.num_classes or 0)
    given = session.campaign.annotations.get("classes")
    names = list(map(str, given)) if given is not None and len(given) >= count else [str(i) for i in range(count)]
    return (classes, names, classes_are) if count <= _MOST_CLASSES else (None, [], "")


def _digest(candidates: Candidates) -> str:
    """Return a hash of the candidates in their order."""
    return hashlib.sha256(json.dumps(candidates.indices.tolist()).encode()).hexdigest()[:16]


# -- one of them asked for -----------------------------------------------------------------------------------------


def raced_before(session: Session, name: str, k: int | float | None) -> tuple[RaceResult, Raced]:
    """Return the race that was made in this round, of the labels that there are, and the acquisition of that name.

    Raises:
        ValueError: If there was none, or not of this acquisition or size.
    """
    state = session.campaign.states.shared(session.campaign.round_file(_FILE))
    if state is None:
        raise ValueError(
            f"`acquisition={shown(name)}` asks for the picks of an acquisition that was raced, and since the last "
            "question or label none was. Race first: `loop.race(trainer, [...])`; or leave it out for the Trainer's."
        )
    race = RaceResult.of_state(state)
    if name not in race.names:
        raise ValueError(f"`acquisition={shown(name)}` was not raced. There are {', '.join(race.names)}.")
    if k is not None and k != race.k:
        raise ValueError(
            f"`ask(k={k})`: the race was for {race.k} picks each, and fewer or more are not always the first of them. "
            f"Leave `k` out, or race again with `k={k}`."
        )
    return race, race[name]


def question_of_race(session: Session, candidates: Candidates, race: RaceResult, raced: Raced) -> Question:
    """Return the question for what an acquisition picked in a race; the same on every rank.

    Raises:
        ValueError: If the candidates are others by now.
    """
    if race.digest != _digest(candidates):
        raise ValueError(
            "The candidates are not those of the race any more: samples joined, went, moved, or were skipped since. "
            "Race again."
        )
    picked = Pick(raced.indices, raced.scores, raced.seconds)
    question = question_of(session.project, session.campaign.ranks, picked)
    return question.chosen({"acquisition": raced.options, "raced": race.names})


def say_who_races(racers: Mapping[str, Acquisition], candidates: Candidates) -> None:
    """Say on the console what is about to be scored."""
    rank_zero_info(
        f"Race of {len(racers)} acquisitions over {len(candidates.indices):,} candidates: {', '.join(racers)}."
    )
