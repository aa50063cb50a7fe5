"""Per-sample scores: of many samples at once by the layers' rules, else by ``torch.func``, else one after another.

All three are exact. The layers' rules need a rule for what the model is made of; ``torch.func`` holds a copy of the
weights per sample; the plain loop takes anything, and the others are compared with it, at a price of less than 2 % of a
pass over a pool, and 1.7 to 2.5 % for models that take something of all their batch together: see
:mod:`~lightning_al.gradients.comparisons`.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import Findings, check_count, check_number, check_type
from lightning_al.gradients.by_rules import ByRules
from lightning_al.gradients.by_torch_func import ByTorchFunc
from lightning_al.gradients.errors import Differs
from lightning_al.gradients.keys import model_key
from lightning_al.gradients.loop import PlainLoop
from lightning_al.gradients.scored_model import prepare, root_of
from lightning_al.gradients.scorers import BatchScore, GroupScore, Scorer
from lightning_al.inference.calling import Forward
from lightning_al.inference.entries import batch_size_of, has_entries, slice_of
from lightning_al.inference.live_weights import live_weights
from lightning_al.inference.memory import is_out_of_memory, keep_freed_memory, whole_bytes
from lightning_al.inference.mode import plain_layers
from lightning_al.inference.precision import at_least_float32

log = logging.getLogger(__name__)


Shaped = Callable[[Tensor, int], Tensor]
"""``shaped(scores, samples)``: the scores with the samples first; refuses those that do not fit them."""


def one_per_sample(values: Tensor, samples: int) -> Tensor:
    """Return ``values`` if they are one for each sample.

    Raises:
        TypeError: If they are no tensor of floating-point numbers.
        ValueError: If they are not as many as samples.
    """
    if not isinstance(values, Tensor) or not values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"The loss must give a floating-point tensor, one number per sample, got {got}.")
    if values.numel() != samples:
        raise ValueError(
            f"The loss must give one number per sample, ({samples},) here, got {values.numel()} numbers. "
            "Average over pixels, boxes or time steps first."
        )
    return values


def one_number_each(values: Tensor, samples: int) -> Tensor:
    """Return the scores of samples that have one number each, (b,)."""
    return one_per_sample(values, samples).flatten()


def one_map_each(values: Tensor, samples: int) -> Tensor:
    """Return the scores of samples that have a map of them each, (b, H, W).

    Raises:
        TypeError: If they are no tensor of floating-point numbers.
        ValueError: If they are no maps, or not as many as samples.
    """
    check_type("values", values, Tensor, "a tensor, the losses of all pixels")
    if not values.is_floating_point():
        raise TypeError(f"The loss must give floating-point numbers, got {values.dtype}.")
    if values.ndim != 3 or len(values) != samples:
        raise ValueError(f"The loss must give one map per sample, ({samples}, H, W) here, got {tuple(values.shape)}.")
    return values


def one_row_each(values: Tensor, samples: int) -> Tensor:
    """Return the scores of samples that have a row of them each, of any shape, (b, ...).

    Raises:
        TypeError: If they are no tensor of floating-point numbers.
        ValueError: If there is not one row for each sample.
    """
    check_type("outputs", values, Tensor, "a tensor with a row for each sample")
    if not values.is_floating_point():
        raise TypeError(f"The outputs must be floating-point numbers, got {values.dtype}.")
    if values.ndim == 0 or len(values) != samples:
        raise ValueError(f"There must be one row for each of {samples} samples, got {tuple(values.shape)}.")
    return values


def score_groups(
    model: nn.Module,
    score: GroupScore,
    inputs: Any,
    *,
    fast: BatchScore | None = None,
    kind: tuple[Any, ...] = (),
    model_inputs: Callable[[Any], Any] = lambda inputs: inputs,
    forward: Forward | None = None,
    group_size: int = 1,
    copies: int = 2,
    max_bytes: float | None = None,
    shaped: Shaped = one_number_each,
) -> Tensor:
    """Apply ``score`` to consecutive groups of samples, each as if it were alone.

    Args:
        model: Any module; scored in ``eval()`` whatever mode it came in, and left as it was.
        score: ``score(differentiator, call, params, group)`` gives one number per sample of the group, (b,); or, with
            ``shaped``, several, (b, ...). It writes to nothing in the group: what may be written to is copied first.
        inputs: Any pytree; every tensor has the batch as its first dimension. What has one entry for each sample is
            marked, by :func:`~lightning_al.inference.division.as_samples`.
        fast: The same score of many groups at once, by the layers' rules. Compared with ``score`` on the first samples
            of a model, and again on later ones; where it differs or has no rule, ``score`` is used.
        kind: Options that distinguish this ``fast`` from others of the same model.
        model_inputs: Which part of ``inputs`` the model gets.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        group_size: Samples in a group. The last group may be smaller.
        copies: How many copies of the weights ``score`` holds per group, for the byte budget.
        max_bytes: Bound on the bytes of tensors held at once beside the model, as far as can be counted; one group is
            scored whatever it takes. Default: see :func:`default_max_bytes`.
        shaped: ``shaped(scores, samples)`` refuses scores that do not fit the samples, and gives them the samples as
            first dimension. Default: one number each, (b,).

    Returns:
        The scores in order, (B,) or (B, ...), detached, in the weights' precision, at least float32.

    Raises:
        TypeError: If weights are sharded over processes, or an option is no number.
        ValueError: If the model has no trainable parameter, the inputs have no common batch dimension, or an option is
            out of range.
    """
    n = batch_size_of(inputs)
    with Findings() as findings:
        findings.of(check_count, "group_size", group_size)
        findings.of(check_number, "max_bytes", max_bytes, least=1, optional=True, may_be_infinite=True)
    bound = whole_bytes(max_bytes)
    keep_freed_memory()
    root = root_of(model, forward)
    with plain_layers(), live_weights(model, root, model_inputs(inputs)):
        prepared = prepare(root)
        # No copies: each call of the model, and of a loss, gets its own.
        inputs = pytree.tree_map_only(Tensor, lambda t: at_least_float32(t.detach()), inputs)
        key = model_key(root, prepared.params, (*kind, score, root.call))
        scorers: list[Scorer] = [ByTorchFunc(prepared, score, copies, key), PlainLoop(prepared, score, key=key)]
        if has_entries(inputs):  # of shapes of their own: nothing to take together
            del scorers[0]
        elif fast is not None:
            scorers.insert(0, ByRules(prepared, score, fast, key=key, model_inputs=model_inputs))
        while True:
            try:
                parts = _score(scorers, inputs, n, group_size=group_size, max_bytes=bound, shaped=shaped)
                return torch.cat(parts) if parts else torch.empty(0)
            except Differs:  # what this call has scored so far may be wrong as well
                scorers.pop(0)


def _score(
    scorers: list[Scorer],
    inputs: Any,
    n: int,
    *,
    group_size: int,
    max_bytes: int | None,
    shaped: Shaped,
) -> list[Tensor]:
    scores: list[Tensor] = []
    for stop in (n // group_size * group_size, n):  # the last group, if smaller, by itself
        start = sum(map(len, scores))
        if start < stop:
            size = min(group_size, stop - start)
            samples = range(start, stop)
            scores += _score_in_chunks(scorers, inputs, samples, group_size=size, max_bytes=max_bytes, shaped=shaped)
    return scores


def _score_in_chunks(
    scorers: list[Scorer],
    inputs: Any,
    samples: range,
    *,
    group_size: int,
    max_bytes: int | None,
    shaped: Shaped,
) -> list[Tensor]:
    """Score these samples by the first scorer that can, in chunks that it has the memory for."""
    scores = []
    start, stop = samples.start, samples.stop
    limit = stop - start
    while start < stop:
        scorer = scorers[0]
        end = start + group_size
        try:
            groups = max(min(scorer.groups_at_once(inputs, group_size, max_bytes), limit // group_size), 1)
            end = min(start + groups * group_size, stop)
            part = scorer(slice_of(inputs, start, end), group_size)
        except Differs:
            raise
        except Exception as error:
            if is_out_of_memory(error) and end - start > group_size:
                limit = (end - start) // 2
                log.info("Out of memory with %d samples at once; going on with %d.", end - start, limit)
            elif len(scorers) == 1:
                raise
            else:
                log.info(scorer.instead(error))
                scorers.pop(0)
            continue
        scores.append(shaped(part, end - start).detach())
        start = end
    return scores
