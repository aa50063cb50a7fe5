"""The options of a loop, checked together before anything else happens."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.campaign.results import RoundResult
from lightning_al.checks import Findings, check_choice, check_count, check_flag, check_number, check_that, check_type
from lightning_al.data.pool import integers
from lightning_al.fitting.reset import RESETS, Reset
from lightning_al.inference.precision import check_pool_precision
from lightning_al.loop.parts import prices_of
from lightning_al.oracle.base import Oracle, costs
from lightning_al.stopping import StopRule
from lightning_al.tasks.base import Task
from lightning_al.words import shown

T = TypeVar("T")

Stop = Callable[[list[RoundResult]], bool]
"""Says by the results so far whether the campaign is over."""

EVALUATED = ("validate", "test")
"""Stages from which metrics come."""

ALL = "all"
"""Initial set of a campaign that trains on all labels, for comparison."""

METHODS = ("random", "balanced")
"""Of choosing the initial set without an acquisition."""

_OF_SEVERAL = {"mask": "a class for each pixel", "boxes": "one for each box"}
"""What tasks have of which a sample is of no one class, by the kind of their annotations."""


@dataclass(frozen=True)
class Settings:
    """The options of a loop, which cannot change; :class:`~lightning_al.ActiveLearningLoop` says what each means.

    Raises:
        TypeError: If something has the wrong type.
        ValueError: If a value is out of range, or several options cannot go together.
    """

    query_size: int | float
    initial: int | Sequence[int] | Literal["all"]
    initial_by: str | Acquisition
    rounds: int | None
    budget: float | None
    stop: Stop | None
    subpool_size: int | None
    known_share: float | None
    reset: Reset
    oracle: Oracle
    task: Task
    evaluate: str | None
    weights: str
    keep_weights: bool
    cache_gb: float
    pool_precision: str | int
    seed: int

    def __post_init__(self) -> None:
        with Findings() as findings:
            initial_is_right = findings.of(_check_initial, self.initial)
            oracle_is_right = findings.of(
                check_type, "oracle", self.oracle, Oracle, "an `Oracle` (`request` and `poll`)"
            )
            findings.of(check_type, "task", self.task, Task, "a `Task`")
            query_size_is_right = findings.of(self.check_size, "query_size", self.query_size)
            findings.of(check_count, "rounds", self.rounds, 0, optional=True)
            budget_is_right = findings.of(check_number, "budget", self.budget, above=0, optional=True)
            stop_is_right = self.stop is None or callable(self.stop)
            findings.of(check_that, stop_is_right, "stop", self.stop, "a `StopRule` or a function of the history")
            subpool_size_is_right = findings.of(check_count, "subpool_size", self.subpool_size, optional=True)
            findings.of(check_number, "known_share", self.known_share, above=0, below=1, optional=True)
            findings.of(check_count, "seed", self.seed, 0)
            if query_size_is_right and subpool_size_is_right:
                findings.of(self._check_subpool)
            if initial_is_right and budget_is_right and oracle_is_right:
                findings.of(self._check_budget)
            if findings.of(_check_initial_by, self.initial_by) and initial_is_right and oracle_is_right:
                findings.of(self._check_initial_set)
            if self.evaluate is not None:
                findings.of(check_choice, "evaluate", self.evaluate, EVALUATED, or_else="None")
            elif isinstance(self.stop, StopRule):
                findings.refuse(
                    f"`stop={type(self.stop).__name__}(monitor={shown(self.stop.monitor)})` needs metrics, of which "
                    '`evaluate=None` leaves rounds without. Pass `evaluate="validate"` or `"test"`, or as `stop` a '
                    "function of the history that looks at no metrics."
                )
            findings.of(check_choice, "weights", self.weights, ("last", "best"))
            findings.of(check_flag, "keep_weights", self.keep_weights)
            findings.of(check_number, "cache_gb", self.cache_gb, least=0)
            findings.of(check_pool_precision, self.pool_precision)
            findings.of(self._check_reset)

    @property
    def asks_for_regions(self) -> bool:
        """Whether questions are for regions of samples, and ``query_size`` counts these."""
        return isinstance(self.task, Task) and self.task.region_kind is not None

    @property
    def first_count(self) -> int:
        """How many samples are asked for first, where nothing is labelled and ``initial`` is 0."""
        return 1 if self.asks_for_regions else int(self.query_size)

    def check_size(self, name: str, size: Any, *, optional: bool = False) -> None:
        """Refuse what says of no question how large it is.

        Args:
            name: Of the option.
            size: A count of samples, or of regions, of which a number below 1 is a share of the pixels.
            optional: Whether None will do too.

        Raises:
            TypeError: If it is no number.
            ValueError: If it is too small, or a share where whole samples are asked for.
        """
        if not isinstance(size, float) or not (self.asks_for_regions or 0 < size < 1):
            check_count(name, size, optional=optional)
        elif not self.asks_for_regions:
            raise ValueError(
                f"`{name}={size}` is a share of the pixels, and {type(self.task).__name__} asks for whole samples: "
                "give how many. Regions are asked for by `SegmentationTask(..., regions=3)`."
            )
        else:
            check_number(name, size, above=0, below=1)

    @property
    def has_initial_set(self) -> bool:
        """Whether samples are labelled before round 0."""
        return self.initial_count(size=1) > 0

    def initial_count(self, size: int) -> int:
        """How many of a pool of ``size`` samples are labelled before round 0."""
        if isinstance(self.initial, str):
            return size
        return self.initial if isinstance(self.initial, int) else len(self.initial)

    def check_initial_size(self, size: int) -> None:
        """Refuse an initial set that a pool of ``size`` samples is too small for.

        Raises:
            ValueError: With the sizes.
        """
        count = self.initial_count(size)
        if count > size:
            raise ValueError(f"`initial` asks for {count} samples, but the pool has {size}.")

    def check_query_size(self, size: int) -> None:
        """Refuse a query that is larger than what the initial set leaves of ``size`` samples.

        Raises:
            ValueError: With the sizes.
        """
        count = self.initial_count(size)
        left = size - count
        asks = self.rounds != 0 and (self.budget is None or self.budget > count)
        if self.asks_for_regions:
            if asks and left < 1:
                raise ValueError(
                    f"`initial` asks for all of {size} samples, so that no regions are left to ask for. Ask for fewer."
                )
            return
        asks = asks and self.oracle.simulated  # people are asked for what there is, and files may join
        if asks and left == 0:
            raise ValueError(
                f"`initial` is all of {size} samples, so that none is left to ask for. Train on all labels with "
                "`rounds=0`, or begin with fewer."
            )
        if asks and self.query_size > left:
            raise ValueError(
                f"`query_size={self.query_size}` is larger than the pool: {size} samples less {count} initial ones "
                f"leave {left}. Ask for at most {left} per round."
            )

    def check_prices(self, initial: Sequence[int], labels: Mapping[int, Any] | None = None) -> None:
        """Refuse a budget that does not cover the initial set, at the oracle's prices.

        Args:
            initial: Dataset indices.
            labels: Theirs, as the ledger has them, where what they cost depends on them.

        Raises:
            ValueError: With what the initial labels cost.
        """
        if labels:
            spent = math.fsum(prices_of(self.oracle, self.task, {i: labels[i] for i in initial}))
        else:
            spent = float(costs(self.oracle, initial).sum())
        if self.budget is not None and spent > self.budget:
            raise ValueError(
                f"`budget={self.budget}` counts the initial labels too and does not cover the {len(initial)} of "
                f"`initial`: they cost {spent:g}."
            )

    def _check_subpool(self) -> None:
        if self.subpool_size is not None and self.query_size > self.subpool_size and not self.asks_for_regions:
            raise ValueError(
                f"`query_size={self.query_size}` is larger than the sub-pool it is picked from, "
                f"`subpool_size={self.subpool_size}`. Make the sub-pool at least as large."
            )

    def _check_budget(self) -> None:
        has_prices = type(self.oracle).cost is not Oracle.cost  # which are known only once the data are set up
        least = self.initial_count(size=0)  # of all samples, the pool's size says how many
        if self.budget is not None and self.budget < least and not has_prices:
            raise ValueError(
                f"`budget={self.budget}` counts the initial labels too and does not cover the {least} of `initial`."
            )

    def _check_initial_set(self) -> None:
        if isinstance(self.initial_by, Acquisition) and not isinstance(self.initial, int | str):
            raise ValueError(
                f"`initial_by={type(self.initial_by).__name__}(...)` chooses the initial set, which `initial` names "
                "already: give a count."
            )
        if self.initial_by == "balanced" and not self.oracle.simulated:
            raise ValueError(
                f'`initial_by="balanced"` needs every label of the dataset in advance, and a '
                f'{type(self.oracle).__name__} gives them only when asked. Use `initial_by="random"`, or name the '
                "indices in `initial`."
            )
        if self.initial_by == "balanced" and isinstance(self.task, Task):
            has = "no classes" if "classes" not in self.task.gives else _OF_SEVERAL.get(self.task.annotation_kind or "")
            if has is not None:
                raise ValueError(
                    f'`initial_by="balanced"` takes as many samples of each class, and `{type(self.task).__name__}` '
                    f'has {has}. Use `initial_by="random"`, or `TypiClust(encoder=...)`.'
                )

    def _check_reset(self) -> None:
        if not callable(self.reset):
            or_else = "a function of the model (in YAML its import path)"
            check_choice("reset", self.reset, RESETS, or_else=or_else)
        if self.reset == "continue" and self.weights == "best":
            raise ValueError(
                '`reset="continue"` keeps the optimizer state, which belongs to the last weights, and cannot go with '
                '`weights="best"`. Use `reset="warm"`, or `weights="last"`.'
            )


class Option(Generic[T]):
    """One of the settings as an attribute of the loop; setting it checks all of them anew, for the next launch."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, loop: Any, owner: type | None = None) -> T:
        return self if loop is None else getattr(loop.settings, self.name)  # type: ignore[return-value]

    def __set__(self, loop: Any, value: T) -> None:
        loop.settings = replace(loop.settings, **{self.name: value})


class OptionsOfLoop:
    """The settings of a loop as its attributes."""

    settings: Settings

    query_size = Option[int | float]()
    initial = Option[int | Sequence[int] | Literal["all"]]()
    initial_by = Option[str | Acquisition]()
    rounds = Option[int | None]()
    budget = Option[float | None]()
    stop = Option[Stop | None]()
    subpool_size = Option[int | None]()
    known_share = Option[float | None]()
    reset = Option[Reset]()
    oracle = Option[Oracle]()
    evaluate = Option[str | None]()
    weights = Option[str]()
    keep_weights = Option[bool]()
    cache_gb = Option[float]()
    pool_precision = Option[str | int]()
    seed = Option[int]()


def check_dirpath(dirpath: Any) -> None:
    """Refuse what is no folder's name.

    Raises:
        TypeError: If it is no path.
        ValueError: If it is empty.
    """
    check_that(dirpath is None or isinstance(dirpath, (str, Path)), "dirpath", dirpath, "a path or None")
    if dirpath == "":
        raise ValueError("`dirpath` is empty. Name a folder, or leave it out for a new one.")


def _check_initial(initial: Any) -> None:
    if isinstance(initial, int):
        check_count("initial", initial, 0)  # 0: where there are known samples
        return
    if isinstance(initial, str) and initial == ALL:
        return
    is_list = hasattr(initial, "__len__") and not isinstance(initial, str)
    check_that(is_list, "initial", initial, 'a count, a list of dataset indices, or "all"')
    integers(initial)


def _check_initial_by(initial_by: Any) -> None:
    if not isinstance(initial_by, Acquisition):
        check_choice("initial_by", initial_by, METHODS, or_else="an acquisition")
        return
    name = type(initial_by).__name__
    if "classes" in initial_by.requires:
        raise ValueError(
            f"`initial_by={name}(...)` needs the number of classes, which is not known before anything trained. Give "
            "it: `clusters=`."
        )
    of_model = initial_by.requires - {"encoder", "labels"}  # labels: of samples that are known, if there are any
    if of_model:
        needed = ", ".join(sorted(of_model))
        raise ValueError(
            f"`initial_by={name}(...)` needs {needed} of the model, which is not trained yet. Use an acquisition with "
            'features of its own (`TypiClust(encoder=...)`), or "random".'
        )
    if learns(initial_by) and not initial_by.selects_unlearnt:
        raise ValueError(
            f"`initial_by={name}(...)` learns from labelled samples before each query, and there is no campaign before "
            'the initial set. Use an acquisition that needs none (`TypiClust(encoder=...)`), "random" or "balanced".'
        )
