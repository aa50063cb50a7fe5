"""Monte-Carlo dropout: what a model says of every sample under the same few sets of masks."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice, check_count, check_number
from lightning_al.functional.scores.probabilities import check_logits, log_probabilities
from lightning_al.inference.calling import Forward
from lightning_al.inference.division import as_samples
from lightning_al.inference.dropout_calls import BEFORE, DropoutCall, DropoutCalls, idle_dropout
from lightning_al.inference.dropout_masks import BatchAxis, MaskedDropout, SeenShapes, find_batch_axis
from lightning_al.inference.entries import batch_size_of, device_of, has_entries, samples_at, whole
from lightning_al.inference.layers import last_layer
from lightning_al.inference.memory import default_max_bytes, is_out_of_memory, whole_bytes
from lightning_al.inference.mode import plain_layers
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.precision import at_least_float32

Read = Callable[[Tensor], Tensor]

_HELD = 4  # results of the largest size at once: inputs and outputs of a layer, and those of a branch beside it
_CPU_BYTES = 2**26  # larger results are slower than several passes, since they come from memory


def check_mc_dropout(passes: int, add_dropout: float | None) -> None:
    """Refuse options of :func:`mc_dropout` that are out of range.

    Raises:
        TypeError: If one is no number.
        ValueError: With the value seen.
    """
    with Findings() as findings:
        findings.of(check_count, "passes", passes, 2)
        findings.of(check_number, "add_dropout", add_dropout, above=0, below=1, optional=True)


def mc_dropout(
    model: nn.Module,
    inputs: Any,
    *,
    passes: int = 20,
    seed: int = 0,
    add_dropout: float | None = None,
    forward: Forward | None = None,
    returns: str = "log_probabilities",
    max_bytes: float | None = None,
) -> Tensor:
    r"""What the model says of each sample in several passes with dropout switched on (Gal & Ghahramani, ICML 2016).

    Only dropout is: the model stays in ``eval()``, BatchNorm on its running statistics. In each pass every sample gets
    the same masks, as if they were another model's weights, so that passes may be compared between samples (BatchBALD
    needs it) and nothing depends on the batch that a sample comes in. A mask follows from the seed, the layer's name,
    how often the layer dropped before in this forward, the number of the pass and the shape of one sample, alone.

    Switched on is whatever calls torch's dropout functions with a probability above 0: dropout layers of every kind,
    ``nn.MultiheadAttention`` and the transformer layers, recurrent layers that drop between their layers, and
    ``F.dropout(x, p, self.training)`` in code of one's own. What looks at ``self.training`` itself (``if
    self.training: ...``) stays off, as stochastic depth does; a dropout *layer* that does not run is warned of. Where
    samples are padded to the longest of their batch, their shape is the padded one; masks of words (B, T, C) are then
    those of samples alone, masks of pairs of words are not, which a loop refuses before it trains.

    What comes before the first dropout is computed once; so is all of the model but the last layer where dropout is
    added. The rest runs as many passes at once as fit ``max_bytes``. The first samples go through the model a few
    times more, which shows in which dimension each call has the batch, and that a sample's place in it plays no role.

    Args:
        model: Scored in ``eval()`` whatever mode it came in, without autocast, and left exactly as it was. The random
            state is not touched.
        inputs: Any pytree of tensors with the batch as first dimension; or with a list or tuple of one entry for each
            sample, such as images of different sizes, which take one forward pass for each sample and pass.
        passes: T, at least 2.
        seed: Of the masks.
        add_dropout: Probability of a dropout put before the last ``nn.Linear`` that runs, beside what the model has.
        forward: ``forward(model, inputs) -> logits``. Default: ``model(inputs)``.
        returns: ``"log_probabilities"``, of logits; or ``"outputs"``, whatever numbers the model gives, such as real
            values.
        max_bytes: Bound on the bytes of what the model computes at once, as far as can be counted (one pass is always
            taken); default: a quarter of what is free, on a CPU 64 MiB, past which it is slower. Fewer passes are
            taken at once where memory runs out.

    Returns:
        (B, T, C), or (B, T, C, ...) for dense outputs, in the weights' precision, at least float32; of outputs (B, ...)
        that are returned as they are (B, T, ...).

    Raises:
        TypeError: If the outputs are not floating logits, or not floating numbers.
        ValueError: If an option is out of range; if nothing in the model drops; or if samples cannot be given the same
            masks: a loop over the samples, packed sequences, or something else that draws at random.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        >>> x = torch.ones(2, 4)
        >>> log_p = mc_dropout(model, x, passes=5)
        >>> log_p.shape
        torch.Size([2, 5, 3])
        >>> bool((log_p[0] == log_p[1]).all())
        True
    """
    check_mc_dropout(passes, add_dropout)
    check_choice("returns", returns, READS)

    def all_passes(model: nn.Module, inputs: Any) -> Tensor:
        inputs = as_samples(model, inputs, forward)
        if batch_size_of(inputs) == 0:
            raise ValueError("`inputs` must hold at least one sample.")
        run = _Passes(model, inputs, forward=forward, seed=seed, add_dropout=add_dropout, read=READS[returns])
        with plain_layers():
            return run.alone(passes) if has_entries(inputs) else run.run(passes, whole_bytes(max_bytes))

    result: Tensor = plain_outputs(model, inputs, all_passes)
    return result


def _log_probabilities_of(logits: Tensor) -> Tensor:
    check_logits(logits)
    return log_probabilities(logits)


def _numbers_of(outputs: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = outputs.dtype if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TypeError(f"Outputs must be one floating tensor, got {kind}. Say with `forward=` where it is.")
    return at_least_float32(outputs)


READS: dict[str, Read] = {"log_probabilities": _log_probabilities_of, "outputs": _numbers_of}


class _Plan(NamedTuple):
    """How a model drops, and so how its passes are run.

    Attributes:
        axes: Of every call that drops.
        added: The call of the last linear layer and the probability to drop before it, if asked for.
        repeated: Whether the inputs must be repeated, because the first dropout cannot do it.
        bytes_per_row: What the largest result takes that is computed for every pass.
    """

    axes: dict[DropoutCall, BatchAxis]
    added: tuple[DropoutCall, float] | None
    repeated: bool
    bytes_per_row: int


class _Passes:
    """The passes of one batch; the model is in the state in which it is scored."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        *,
        forward: Forward | None,
        seed: int,
        add_dropout: float | None,
        read: Read,
    ) -> None:
        self.model = model
        self.forward = forward
        self.inputs = inputs
        self.size = batch_size_of(inputs)
        self.seed = seed
        self.add_dropout = add_dropout
        self.read = read

    def run(self, passes: int, max_bytes: int | None) -> Tensor:
        """Return what is read off the outputs, (B, T, ...)."""
        plan = self._plan()
        device = device_of(self.inputs)
        budget = max_bytes
        if budget is None:
            budget = min(default_max_bytes(device), _CPU_BYTES) if device.type == "cpu" else default_max_bytes(device)
        at_once = min(max(budget // max(_HELD * plan.bytes_per_row * self.size, 1), 1), passes)
        done: list[Tensor] = []
        start = 0
        while start < passes:
            numbers = range(start, min(start + at_once, passes))
            try:
                done.append(self._said(plan, self.inputs, numbers))
            except Exception as error:
                if at_once == 1 or not is_out_of_memory(error):
                    raise
                at_once = max(len(numbers) // 2, 1)
                continue
            start = numbers.stop
        return torch.cat(done).transpose(0, 1).contiguous()

    def alone(self, passes: int) -> Tensor:
        """Return them of samples of shapes of their own, one at a time and one pass after another."""
        samples = [samples_at(self.inputs, torch.tensor([i])) for i in range(self.size)]
        self._check_alone(samples[0])
        return torch.stack([torch.cat([self._alone(one, t) for t in range(passes)]) for one in samples])

    def _alone(self, sample: Any, number: int) -> Tensor:
        """Return it of one sample in one pass, (1, ...): its tensors have no rows of others to tell apart."""
        seen = self._seen_alone(sample)
        shapes, added = dict(seen.dropped), None
        if self.add_dropout is not None:
            call = self._last_linear(seen, seen)
            added = call, self.add_dropout
            shapes[call] = seen.linear[call]
        elif not shapes:
            raise ValueError(self._nothing_drops())
        axes = {call: BatchAxis(0, shape[0]) for call, shape in shapes.items()}
        return self._said(_Plan(axes, added, True, 0), sample, range(number, number + 1))[0]

    def _seen_alone(self, sample: Any) -> SeenShapes:
        seen = SeenShapes()
        self._call(seen, samples_at(sample, torch.tensor([0])))
        return seen

    def _check_alone(self, sample: Any) -> None:
        self._warn_of_idle(self._seen_alone(sample).dropped)
        once, again = self._alone(sample, 0), self._alone(sample, 0)
        if not _close(once, again):
            raise ValueError(
                f"Under the same dropout masks, the same sample gives different outputs of `{type(self.model).__name__}"
                f"` in `eval()`, {once[0].flatten()[:3].tolist()} and {again[0].flatten()[:3].tolist()}: something "
                "besides dropout draws at random there."
            )

    def _said(self, plan: _Plan, inputs: Any, passes: range) -> Tensor:
        """Return it of some passes, (T, B, ...)."""
        masks = MaskedDropout(plan.axes, self.seed, passes, repeated=plan.repeated, added=plan.added)
        index = torch.arange(batch_size_of(inputs)).repeat(len(passes) if plan.repeated else 1)
        said = self.read(self._call(masks, samples_at(inputs, index)))
        rows = len(passes) * batch_size_of(inputs)
        if len(said) != rows:
            raise ValueError(f"The model gave outputs of shape {tuple(said.shape)} for {rows} rows, one row each.")
        return said.unflatten(0, (len(passes), -1))

    def _forward(self, model: nn.Module, inputs: Any) -> Any:
        return model(inputs) if self.forward is None else self.forward(model, inputs)

    def _call(self, seen: DropoutCalls, inputs: Any) -> Any:
        with seen.watching(self.model):
            return self._forward(self.model, whole(inputs))

    def _plan(self) -> _Plan:
        """Find out how the model drops, by a few of its samples."""
        two, three = SeenShapes(), SeenShapes()
        first = torch.tensor([0, 1 % self.size, 0])
        self._call(two, samples_at(self.inputs, first[:2]))
        self._call(three, samples_at(self.inputs, first))
        shapes, added = dict(two.dropped), None
        if self.add_dropout is not None:
            call = self._last_linear(two, three)
            added = call, self.add_dropout
            shapes[call] = two.linear[call]
        elif not shapes:
            raise ValueError(self._nothing_drops())
        self._warn_of_idle(shapes)
        others = {**three.dropped, **three.linear}
        axes = {call: find_batch_axis(call, shape, others.get(call, ())) for call, shape in shapes.items()}
        samples = samples_at(self.inputs, first)
        whole = _Plan(axes, added, True, _growth(two, three, 0))
        expected = self._said(whole, samples, range(2))
        if not _close(expected[:, 0], expected[:, 2]):
            raise ValueError(
                f"Under the same dropout masks, the same sample twice in a batch gives different outputs of "
                f"`{type(self.model).__name__}` in `eval()`, {expected[0, 0].flatten()[:3].tolist()} and "
                f"{expected[0, 2].flatten()[:3].tolist()}: something besides dropout draws at random there, mixes "
                "samples, or puts them into one dimension with others in another order than sample by sample."
            )
        begun = min(two.before[call] for call in shapes)
        later = _Plan(axes, added, False, _growth(two, three, begun))
        try:
            result = self._said(later, samples, range(2))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return whole  # what comes before the first dropout meets what comes after it, as in a residual block
        return later if _close(result, expected) else whole

    def _warn_of_idle(self, shapes: dict[DropoutCall, tuple[int, ...]]) -> None:
        idle = idle_dropout(self.model, shapes)
        if idle:
            warnings.warn(
                f"Dropout layers that the model does not run in `eval()` stay switched off: {', '.join(idle[:5])}"
                f"{', ...' if len(idle) > 5 else ''}.",
                stacklevel=2,
            )

    def _last_linear(self, two: SeenShapes, three: SeenShapes) -> DropoutCall:
        """Return the call of the last linear layer, which must be the same for two samples and for three."""
        if not two.linear:
            raise ValueError(
                f"`add_dropout={self.add_dropout}` puts dropout before the last `nn.Linear` that runs, and none runs "
                f"in the forward of `{type(self.model).__name__}`. Put an `nn.Dropout` into the model."
            )
        one = samples_at(self.inputs, torch.tensor([0]))
        name = last_layer(self.model, one, self._forward, (nn.Linear,))
        of_head = [name + BEFORE] if name is not None else [layer for layer, _ in two.linear]
        call, same = ([call for call in seen.linear if call[0] in of_head][-1] for seen in (two, three))
        if call != same:
            raise ValueError(
                f"`add_dropout={self.add_dropout}` puts dropout before the last `nn.Linear` that runs, which is "
                f"another one in a batch of 2, {call[0].removesuffix(BEFORE)!r}, than in one of 3, "
                f"{same[0].removesuffix(BEFORE)!r}."
            )
        return call

    def _nothing_drops(self) -> str:
        return (
            f"Nothing in `{type(self.model).__name__}` drops in its forward in `eval()`, neither `nn.Dropout` nor "
            "`F.dropout(x, p, self.training)` of a probability above 0, so that all passes would give the same. Put "
            "dropout into the model and train with it, or have one put before the last linear layer while scoring: "
            "`add_dropout=0.5`."
        )


def _growth(two: SeenShapes, three: SeenShapes, start: int) -> int:
    """Bytes by which the largest result from this one on grows with a sample."""
    pairs = zip(two.sizes[start:], three.sizes[start:], strict=False)
    return max((larger - smaller for smaller, larger in pairs), default=0)


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether they differ by rounding only."""
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    finite = b[b.isfinite()].abs()
    scale = float(finite.max()) if len(finite) else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
