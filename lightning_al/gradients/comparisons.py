"""The ways to scores are held against the plain loop: on the first samples of a model, and again on later ones.

- First: a few samples of each shape, as unlike each other as there are, in float64 where that fits.
- Later: one group of samples of a large model's second batch; of any model's after the first 256, after 512 more, and
  after every 1,000 more: some 1 % of a pass, less than 2 % of small networks' (``tests/benchmarks/comparisons.py``).
- Of a model that takes anything of all its batch together (:mod:`~lightning_al.gradients.mixing`): in every batch, the
  outputs of those samples that are farther apart in length, number of zeros, or values than any two that were
  compared in a batch before, and of one more in every fourth batch, are compared with those that the model gives them
  alone. That is 2.5 % of a pass over 2,000 texts in batches of 50, and 1.7 % over 8,000.

A ReLU or a maximum that rounding decides may be decided otherwise in a batch, and the gradient then is another one too.
So what differs by no more than the score changes under weights that are moved by about their rounding does not count.

What differs is scored in a slower way from there on, in the end by the plain loop, beginning with all samples of the
call that showed it; a pass over the pool begins anew. What is not noticed: a model that takes something of its batch
out of torch's sight (in C++ of its own), or that goes by hidden values that only few batches have.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.gradients.errors import Differs, NoRule, NothingToCompare
from lightning_al.gradients.example_groups import measures_of
from lightning_al.gradients.scored_model import ScoredModel, floats_in_double
from lightning_al.gradients.scorers import GroupScore, OneAfterAnother
from lightning_al.inference.entries import slice_of
from lightning_al.inference.module_state import attributes_kept, modules_of
from lightning_al.inference.outputs import floating_tensors

log = logging.getLogger(__name__)

FIRST, EVERY = 256, 1000  # groups until one is compared: after the first batch, and at most
ROUNDING = 1e-12  # scores below may be made of rounding errors only, and say nothing
_IN_TURN = 4  # batches until one more sample's outputs are compared than those that are far apart
_ROUGH = 5e-3  # by how much outputs may differ by rounding on a device that multiplies with fewer digits
_MOVED = 1e-6  # share of each weight by which it is moved to see what rounding can decide: some of float32's
_MOVES = 4  # times, and as often the other way
_MARGIN = 0.05  # of their distance, by which two samples may be farther apart than two that were compared

ModelInputs = Callable[[Any], Any]


@dataclass
class Standing:
    """What is known of one way to score one model.

    Attributes:
        given: How many groups it has scored.
        wait: How many from one comparison to the next.
        due: At how many the next comparison is due.
        turn: How many comparisons there were.
        batches: How many batches there were of which outputs are compared.
        refused: Why it is not taken any more, or "".
        proved: Kinds of inputs for which the first samples were compared.
        failed: Kinds of inputs for which it cannot be taken, and why.
        apart: For each measure of groups, those two values, of one batch, between which groups were compared.
        tolerance: By how much outputs alone and in a batch may differ, by rounding, of the largest.
    """

    given: int = 0
    wait: int = FIRST
    due: int = FIRST
    turn: int = 0
    batches: int = 0
    refused: str = ""
    proved: set[Hashable] = field(default_factory=set)
    failed: dict[Hashable, str] = field(default_factory=dict)
    apart: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    tolerance: float = 0.0

    def compare_next(self, groups: int) -> None:
        """Have some of the batch after the first, of so many groups, compared, and then as often as else."""
        self.due, self.wait = groups, FIRST // 2


_STANDINGS: WeakKeyDictionary[nn.Module, dict[Hashable, Standing]] = WeakKeyDictionary()
_WITHDRAWN: list[list[str]] = []


def standing_of(model: ScoredModel, key: Hashable) -> Standing:
    """Return what is known of a way, by a key, to score a model."""
    return _STANDINGS.setdefault(model.root.model, {}).setdefault(key, Standing())


@contextlib.contextmanager
def scores_withdrawn() -> Iterator[list[str]]:
    """Give a list that is filled inside, should scores have been given that a later comparison shows to be wrong."""
    withdrawn: list[str] = []
    _WITHDRAWN.append(withdrawn)
    try:
        yield withdrawn
    finally:
        _WITHDRAWN.pop()


class _Scored(NamedTuple):
    """A batch that was scored.

    Attributes:
        scores: Of its samples, (B,) or (B, ...), detached.
        inputs: Of the score.
        group_size: Samples in a group.
    """

    scores: Tensor
    inputs: Any
    group_size: int

    @property
    def groups(self) -> int:
        """How many groups it has."""
        return len(self.scores) // self.group_size

    def group(self, i: int) -> Any:
        """Return the inputs of a group."""
        return slice_of(self.inputs, i * self.group_size, (i + 1) * self.group_size)

    def scores_of(self, i: int) -> Tensor:
        """Return the scores of a group."""
        return self.scores[i * self.group_size : (i + 1) * self.group_size]

    def measures(self) -> list[list[float]]:
        """Return by what groups may be told from each other."""
        return measures_of(self.inputs, self.group_size)


class Comparisons:
    """Holds the scores of later batches against the plain loop.

    Args:
        way: In words.
        model: The model.
        score: The score of one group.
        model_inputs: Which part of the inputs the model gets.
        standing: Of the way.
    """

    def __init__(
        self, way: str, model: ScoredModel, *, score: GroupScore, model_inputs: ModelInputs, standing: Standing
    ) -> None:
        self.way = way
        self.model = model
        self.score = score
        self.model_inputs = model_inputs
        self.standing = standing

    def check(self, scores: Tensor, inputs: Any, group_size: int, outputs: list[Tensor] | None = None) -> None:
        """Compare what is due of a batch.

        Args:
            scores: Of the batch, (B,) or (B, ...).
            inputs: Of the batch.
            group_size: Samples in a group.
            outputs: Of a model that takes something of all its batch together.

        Raises:
            Differs: If it is not what the plain loop gives.
        """
        batch = _Scored(scores.detach(), inputs, group_size)
        if outputs is not None:
            self._check_outputs(outputs, batch)
        standing = self.standing
        if standing.given + batch.groups > standing.due:
            order = farthest_apart(batch.measures(), {})[0]
            self._check_score((order or [batch.groups - 1])[standing.turn % max(len(order), 1)], batch)
            standing.turn += 1
            standing.wait = min(2 * standing.wait, EVERY)
            standing.due = standing.given + batch.groups + standing.wait
        standing.given += batch.groups

    def _check_outputs(self, outputs: list[Tensor], batch: _Scored) -> None:
        standing = self.standing
        chosen, apart = farthest_apart(batch.measures(), standing.apart)
        if standing.batches % _IN_TURN == 0:
            chosen.append((batch.groups - 1 - standing.batches // _IN_TURN) % batch.groups)
        standing.batches += 1
        for i in dict.fromkeys(chosen):
            self._check_outputs_of(i, outputs, batch)
        for number, interval in apart.items():
            within = [old for old in standing.apart.get(number, []) if not _inside(old, interval)]
            standing.apart[number] = [*within, interval]

    def _check_outputs_of(self, i: int, outputs: list[Tensor], batch: _Scored) -> None:
        difference = _difference(outputs, _outputs(self.model, self.model_inputs(batch.group(i))), i, batch.groups)
        if difference <= max(self.standing.tolerance, 1e-8 if _in_float64(outputs) else 2e-5):
            return
        exact = self._difference_in_float64(i, batch)
        if exact <= 1e-8 or (math.isnan(exact) and difference <= _ROUGH):
            self.standing.tolerance = 2 * difference  # it was rounding
            return
        self._check_score(i, batch)
        if math.isfinite(difference):
            self._refuse(f"gives a sample outputs that differ by {difference:.1e} of the largest with its batch")

    def _difference_in_float64(self, i: int, batch: _Scored) -> float:
        """Return it, or NaN where the model insists on its own precision, or memory is short."""
        try:
            with attributes_kept(modules_of(self.model.root)):
                double = self.model.in_double()
                both = (self.model_inputs(batch.inputs), self.model_inputs(batch.group(i)))
                together, alone = (
                    _outputs(double, pytree.tree_map_only(Tensor, floats_in_double, part)) for part in both
                )
                return _difference(together, alone, i, batch.groups)
        except Exception as error:
            log.debug("Not compared in float64: %s", error)
            return math.nan

    def _check_score(self, i: int, batch: _Scored) -> None:
        """Compare a group's scores, (b,) or (b, ...), whose numbers may differ by so much of a sample's largest."""
        group, size = batch.group(i), batch.group_size
        got = batch.scores_of(i).reshape(size, -1)
        plain = OneAfterAnother(self.model, self.score)(group, size).detach().reshape(size, -1)
        close = 1e-7 if got.dtype == torch.float64 else 1e-4
        lost = ROUNDING * float(batch.scores.abs().nan_to_num(posinf=0.0).max())
        if torch.allclose(got, plain, rtol=close, atol=lost, equal_nan=True):
            return
        exact, rough, moved = plain, True, torch.zeros_like(plain)
        with contextlib.suppress(Exception), attributes_kept(modules_of(self.model.root)):
            double = self.model.in_double()
            samples = pytree.tree_map_only(Tensor, floats_in_double, group)
            exact, rough = OneAfterAnother(double, self.score)(samples, size).detach().reshape(size, -1), False
            if got.dtype != torch.float64:
                moved = self._changes_under_rounding(double, samples, exact)
        rounding = torch.maximum(10 * (plain.double() - exact.double()).abs(), 2 * moved.double())
        allowed = torch.maximum(rounding, (_ROUGH if rough else close) * exact.double().abs()).amax(1, True) + lost
        if bool(((got.double() - exact.double()).abs() > allowed).any()):
            values = got.flatten().tolist()[:2], plain.flatten().tolist()[:2]
            self._refuse("gives {} where the plain loop gives {}".format(*values))

    def _changes_under_rounding(self, double: ScoredModel, samples: Any, exact: Tensor) -> Tensor:
        """Return by how much the scores (b, ...) of a group change where its weights change by about their rounding."""
        draw, most = torch.Generator().manual_seed(0), torch.zeros_like(exact)
        for _ in range(_MOVES):
            steps = {n: _MOVED * torch.randn(p.shape, generator=draw).to(p) for n, p in double.params.items()}
            for sign in (1, -1):
                moved = double._replace(params={n: p * (1 + sign * steps[n]) for n, p in double.params.items()})
                scores = OneAfterAnother(moved, self.score)(samples, len(exact)).detach()
                most = torch.maximum(most, (scores.reshape(exact.shape) - exact).abs().nan_to_num(nan=0.0, posinf=0.0))
        return most

    def _refuse(self, reason: str) -> None:
        standing = self.standing
        standing.refused = f"{self.way} {reason}"
        before = ""
        if standing.given:
            before = (
                f" {standing.given} scores were given before: a pass over the pool begins anew, those of other calls "
                "should be computed again."
            )
            for withdrawn in _WITHDRAWN:
                withdrawn.append(standing.refused)
        name = type(self.model.root.model).__name__
        log.warning("%s: %s. It is scored in another way from here on.%s", name, standing.refused, before)
        raise Differs(standing.refused)


def check_same(scores: Tensor, plain: Tensor, tolerance: float, *, differentiated: bool) -> None:
    """Refuse the first scores of a way that are not the plain loop's.

    Args:
        scores: Of a few groups.
        plain: The same by the plain loop.
        tolerance: Relative to each, and to the largest.
        differentiated: Whether the score has a gradient, so that zeros say nothing.

    Raises:
        NoRule: If they differ.
        NothingToCompare: If they are no numbers, or nothing but rounding errors.
    """
    largest = float(plain.abs().max())
    if not math.isfinite(largest) or (largest == 0 and differentiated):
        raise NothingToCompare(f"the first samples score {plain.flatten().tolist()[:2]}")
    if not torch.allclose(scores, plain, rtol=tolerance, atol=tolerance * largest):
        kind = NoRule if largest > ROUNDING else NothingToCompare
        values = scores.flatten().tolist()[:2], plain.flatten().tolist()[:2]
        raise kind("they would be {} where the plain loop gives {}".format(*values))


def farthest_apart(
    measures: list[list[float]], compared: dict[int, list[tuple[float, float]]]
) -> tuple[list[int], dict[int, tuple[float, float]]]:
    """Return the groups that are farthest apart by some measure, and how far, where none so far were compared.

    Args:
        measures: Each of all groups.
        compared: For each, the values between which groups of one batch were compared.
    """
    chosen: list[int] = []
    apart: dict[int, tuple[float, float]] = {}
    for number, values in enumerate(measures):
        low, high = min(values), max(values)
        margin = _MARGIN * (high - low)
        if low < high and not any(_inside((low + margin, high - margin), old) for old in compared.get(number, [])):
            chosen += [values.index(low), values.index(high)]
            apart[number] = low, high
    return list(dict.fromkeys(chosen)), apart


def _inside(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return b[0] <= a[0] and a[1] <= b[1]


@torch.no_grad()
def _outputs(model: ScoredModel, inputs: Any) -> list[Tensor]:
    return floating_tensors(model.call(model.params, inputs))


def _in_float64(outputs: list[Tensor]) -> bool:
    return all(t.dtype == torch.float64 for t in outputs)


def _difference(together: list[Tensor], alone: list[Tensor], i: int, groups: int) -> float:
    """Return by how much the outputs of group ``i`` differ, of the largest; infinite where they cannot be compared."""
    if len(together) != len(alone):
        return math.inf
    largest = 0.0
    for whole, own in zip(together, alone, strict=True):
        if not own.ndim or not own.numel():
            continue
        if not whole.ndim or len(whole) % groups:
            return math.inf
        part = whole.unflatten(0, (groups, -1))[i]
        if part.shape != own.shape:
            return math.inf
        scale = float(own.abs().nan_to_num(posinf=0.0).max())
        apart = (part.double() - own.double()).abs()
        apart = torch.where((part == own) | (part.isnan() & own.isnan()), 0.0, apart)
        difference = float(apart.max())
        if math.isnan(difference):
            return math.inf
        largest = max(largest, difference / scale if scale else difference)
    return largest
