"""The forward passes of a model as it is, each made once for all who look at the same inputs, and kept if wanted.

What is shared is the model's ``forward``, called in ``eval()`` without a graph, with its own weights. What takes
gradients, draws masks of dropout or puts other weights in calls the model as ever.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.batches import copy_of
from lightning_al.inference.calling import Forward
from lightning_al.inference.compiled import unwrapped
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import modules_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.precision import lowered_of
from lightning_al.inference.replaced import replaced
from lightning_al.inference.row_keys import row_keys
from lightning_al.storage.kept_rows import KeptRowsOnDisk

OUTPUTS = "outputs"
"""The kind of rows that are a model's outputs; others are features, and say at which layer."""

_COMPARED = 8  # samples whose outputs are made again before those that were kept are trusted
_IN_FLOAT64, _IN_FLOAT32, _LOWERED = 1e-9, 2e-3, 2e-2
"""By how much outputs may differ by rounding, of the largest, on any device; by no more than that."""


class _NotMade(Exception):
    """A forward pass is asked for that was not made."""


@dataclass
class _Call:
    """A forward pass that was made: what the model was called with, and what it gave."""

    leaves: list[Any]
    spec: Any
    state: Hashable
    outputs: Any
    keys: Tensor | None
    features: dict[str, Tensor] = field(default_factory=dict)

    def is_of(self, leaves: list[Any], spec: Any, state: Hashable) -> bool:
        """Whether it was made of these inputs."""
        return self.spec == spec and self.state == state and all(map(_same, self.leaves, leaves))


class SharedForward:
    """Makes each forward pass of a model once.

    Args:
        model: As it is scored, its weights as they stay for as long as this is used.
        kept: Keeps what it gives for later; None: nothing is, but for as long as a batch is looked at.
    """

    def __init__(self, model: nn.Module, kept: KeptRowsOnDisk | None = None) -> None:
        self.model = unwrapped(model)
        self.looks = 0
        """How often the model's outputs were asked for, and made or not."""
        self._kept = kept
        self._trusted = False
        self._calls: list[_Call] = []
        self._hooks = _inner_hooks(self.model)
        self._shares = not _has_hooks_of_others(self.model)
        """Whether all that a forward pass leaves are its outputs."""
        self._forward: Callable[..., Any] | None = None
        self._mode = "any"
        self._touched: list[_Call] = []

    def begin_batch(self) -> None:
        """Forget what was made of the batch before."""
        self._calls.clear()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Inside, the model's forward is shared."""
        outer = self._forward
        self._forward = self.model.forward if outer is None else outer
        try:
            with replaced(self.model, "forward", self._call):
                yield
        finally:
            self._forward = outer

    def with_features(
        self, run: Callable[[], Tensor], name: str, look: Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return what ``look(run)`` does, outputs and features, of a forward pass that was made before if there is one.

        Args:
            run: Calls the model, and returns the outputs.
            name: Of the features.
            look: Watches a forward pass.
        """
        if self._forward is None or self._mode != "any" or not self._shares:
            return look(run)
        try:
            with self._in_mode("known") as calls:
                outputs = run()
        except _NotMade:
            pass
        else:
            features = self._features(calls[0], name) if len(calls) == 1 else None
            if features is not None:
                return outputs, features
        with self._in_mode("anew") as calls:
            outputs, features = look(run)
        if len(calls) == 1:
            self._keep_features(calls[0], name, features)
        return outputs, features

    @contextlib.contextmanager
    def _in_mode(self, mode: str) -> Iterator[list[_Call]]:
        touched: list[_Call] = []
        before = self._mode, self._touched
        self._mode, self._touched = mode, touched
        try:
            yield touched
        finally:
            self._mode, self._touched = before

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Stand for the model's forward."""
        forward = self._forward or self.model.forward
        is_watched = self._mode != "anew" and _inner_hooks(self.model) != self._hooks  # by hooks that must see layers
        if torch.is_grad_enabled() or is_watched or not self._shares:
            if self._mode == "known":
                raise _NotMade
            return forward(*args, **kwargs)
        self.looks += 1
        leaves, spec = pytree.tree_flatten((args, kwargs))
        state = lowered_of(self.model) is not None, _autocast_of(leaves)
        call = next((c for c in self._calls if c.is_of(leaves, spec, state)), None)
        if call is None or self._mode == "anew":
            call = self._made(forward, leaves, spec, state)
        self._touched.append(call)
        return copy_of(call.outputs)

    def _made(self, forward: Callable[..., Any], leaves: list[Any], spec: Any, state: Hashable) -> _Call:
        """Make a forward pass, or take what was kept of it."""
        keys = None
        if self._kept is not None and not _may_have_entries(pytree.tree_unflatten(leaves, spec)):
            keys = row_keys(leaves, repr((str(spec), state)))
        mine = [leaf.detach().clone() if isinstance(leaf, Tensor) else copy_of(leaf) for leaf in leaves]

        def run(which: Tensor | None = None) -> Any:
            some = leaves if which is None else [_some(leaf, which) for leaf in mine]
            args, kwargs = pytree.tree_unflatten(some, spec)
            before = _held(self.model)
            made = forward(*args, **kwargs)
            if _held(self.model) != before:  # somebody may read that
                self._shares, self._kept = False, None
            return made

        outputs = None
        if keys is not None and self._mode != "anew":
            outputs = self._put_together(run, keys, mine)
        if outputs is None or not self._shares:
            if self._mode == "known":
                raise _NotMade
            before = _draw_state() if keys is not None else None
            outputs = run()
            if before is not None and not torch.equal(before, _draw_state()):
                self._keep_none("the model draws at random")
                keys = None
            if keys is not None and self._shares:
                self._keep_outputs(keys, outputs)
        call = _Call(mine, spec, state, copy_of(outputs), keys)
        self._calls = [other for other in self._calls if not other.is_of(mine, spec, state)] + [call]
        return call

    # -- what is kept ----------------------------------------------------------------------------------------------

    def _put_together(self, run: Callable[..., Any], keys: Tensor, leaves: list[Any]) -> Any:
        """Return outputs of which some or all rows were kept; None where all are to be made anew."""
        found = None if self._kept is None else self._kept.find(OUTPUTS, keys)
        if found is None or (self._mode == "known" and not bool(found.which.all())):
            return None
        device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))
        rows = [leaf.to(device) for leaf in found.leaves]
        if not self._trusted:
            few = torch.nonzero(found.which).flatten()[:_COMPARED]
            made, form = _rows_of(_tried(run, few), len(few))
            if made is None or form != found.form or not self._are_close(made, [row[: len(few)] for row in rows]):
                self._keep_none("the model gives other outputs than when they were kept")
                return None
            self._trusted = True
        if bool(found.which.all()):
            return pytree.tree_unflatten(rows, pytree.treespec_loads(found.form))
        missing = torch.nonzero(~found.which).flatten()
        made, form = _rows_of(_tried(run, missing), len(missing))
        if made is None or form != found.form or [m.shape[1:] for m in made] != [row.shape[1:] for row in rows]:
            return None
        if self._kept is not None:
            self._kept.add(OUTPUTS, keys[missing], [leaf.detach().cpu() for leaf in made], form)
        where = found.which.to(device)
        whole = [m.new_empty((len(where), *m.shape[1:])) for m in made]
        for all_rows, old, new in zip(whole, rows, made, strict=True):
            all_rows[where], all_rows[~where] = old.to(new.dtype), new
        return pytree.tree_unflatten(whole, pytree.treespec_loads(form))

    def _are_close(self, made: list[Tensor], kept: list[Tensor]) -> bool:
        """Whether rows are the same but for rounding."""
        lowered = lowered_of(self.model) is not None
        return all(_close(one, other, lowered=lowered) for one, other in zip(made, kept, strict=True))

    def _keep_outputs(self, keys: Tensor, outputs: Any) -> None:
        rows, form = _rows_of(outputs, len(keys))
        if rows is None:
            self._keep_none("the model's outputs are not a row of numbers for each sample")
        else:
            self._add(OUTPUTS, keys, rows, form)

    def _features(self, call: _Call, name: str) -> Tensor | None:
        """Return the features of a forward pass that were seen before."""
        if name not in call.features and self._kept is not None and call.keys is not None and self._trusted:
            found = self._kept.find(name, call.keys)
            if found is not None and bool(found.which.all()):
                device = next(leaf.device for leaf in call.leaves if isinstance(leaf, Tensor))
                call.features[name] = found.leaves[0].to(device)
        return call.features[name].clone() if name in call.features else None

    def _keep_features(self, call: _Call, name: str, features: Tensor) -> None:
        call.features[name] = features.detach().clone()
        if call.keys is not None and len(features) == len(call.keys):
            self._add(name, call.keys, [features], "")

    def _add(self, kind: str, keys: Tensor, rows: list[Tensor], form: str) -> None:
        """Keep those rows that are not kept yet."""
        if self._kept is None:
            return
        found = self._kept.find(kind, keys)
        new = torch.ones(len(keys), dtype=torch.bool) if found is None else ~found.which
        if bool(new.any()):
            self._kept.add(kind, keys[new], [row.detach()[new.to(row.device)].cpu() for row in rows], form)

    def _keep_none(self, why: str) -> None:
        if self._kept is not None:
            self._kept.drop(why)
        self._kept = None


_SHARED: ContextVar[SharedForward | None] = ContextVar("shared_forward", default=None)


@contextlib.contextmanager
def sharing(shared: SharedForward) -> Iterator[SharedForward]:
    """Inside, :func:`shared_outputs` of its model are made once."""
    token = _SHARED.set(shared)
    try:
        yield shared
    finally:
        _SHARED.reset(token)


def sharing_of(model: nn.Module) -> SharedForward | None:
    """Return what shares the forward passes of this model now, if anything does."""
    shared = _SHARED.get()
    return shared if shared is not None and shared.model is unwrapped(model) else None


def shared_outputs(model: nn.Module, inputs: Any, forward: Forward | None = None) -> Any:
    """Return :func:`~lightning_al.inference.outputs.plain_outputs`, of a forward pass that others had before, maybe.

    For those who look at the model as it is: ``forward`` must not change anything in it, nor look into its layers other
    than by their hooks.
    """
    shared = sharing_of(model)
    with contextlib.nullcontext() if shared is None else shared.serving():
        return plain_outputs(model, inputs, forward)


def _rows_of(outputs: Any, size: int) -> tuple[list[Tensor] | None, str]:
    """Return outputs as tensors with a row for each sample, and how they are put together; None where they are not."""
    leaves, spec = pytree.tree_flatten(outputs)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size for leaf in leaves):
        return None, ""
    try:
        return leaves, pytree.treespec_dumps(spec)
    except (NotImplementedError, TypeError, ValueError):  # a class of the user's, which only this process knows
        return None, ""


def _tried(run: Callable[[Tensor], Any], which: Tensor) -> Any:
    """Return what the model gives of some samples; None where its inputs cannot be divided so."""
    try:
        return run(which)
    except Exception as error:  # the model's, of any kind
        if is_out_of_memory(error):
            raise
        return None


def _may_have_entries(arguments: tuple[Any, dict[str, Any]]) -> bool:
    """Whether a list in what the model is called with may have an entry for each sample, as images of several sizes."""
    args, kwargs = arguments
    leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.ndim]
    sizes = {len(leaf) for leaf in leaves}
    waiting = [*args, *kwargs.values()]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (list, tuple)):
            if len(node) in sizes:
                return True
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
    return False


def _some(leaf: Any, which: Tensor) -> Any:
    return leaf[which.to(leaf.device)] if isinstance(leaf, Tensor) else leaf


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.device == other.device and one.shape == other.shape
        return alike and one.layout == other.layout == torch.strided and torch.equal(one, other)
    return type(one) is type(other) and isinstance(one, (str, bytes, bool, int, float, type(None))) and one == other


def _close(made: Tensor, kept: Tensor, *, lowered: bool) -> bool:
    if made.shape != kept.shape or made.dtype != kept.dtype:
        return False
    if not made.is_floating_point() or made.numel() == 0:
        return torch.equal(made, kept)
    rounding = _IN_FLOAT64 if made.dtype == torch.float64 else _IN_FLOAT32
    if lowered or torch.is_autocast_enabled(made.device.type):
        rounding = _LOWERED
    a, b = made.double(), kept.double()
    allowed = rounding * float(a.abs().nan_to_num(posinf=0.0).max())
    return torch.allclose(a, b, rtol=0.0, atol=allowed, equal_nan=True)


def _autocast_of(leaves: list[Any]) -> Hashable:
    kinds = sorted({leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)})
    return tuple(
        (kind, str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else None) for kind in kinds
    )


def _draw_state() -> Tensor:
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)


def _inner_hooks(model: nn.Module) -> int:
    """Count the hooks of a model's layers."""
    inner = (module for module in modules_of(model) if module is not model)
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in inner)


def _has_hooks_of_others(model: nn.Module) -> bool:
    """Whether somebody other than torch has hooks on a model's layers, to see what is in them in each pass."""
    inner = (module for module in modules_of(model) if module is not model)
    hooks = (hook for m in inner for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
    return any(not (getattr(hook, "__module__", None) or "").startswith("torch.") for hook in hooks)


def _held(model: nn.Module) -> list[tuple[int, str, int, Any]]:
    """Return which tensors modules have as buffers or attributes, and in containers there, to see which are new."""
    held: list[tuple[int, str, int, Any]] = []
    for module in modules_of(model):
        for name, value in (*vars(module).items(), *module._buffers.items()):
            if isinstance(value, Tensor):
                held.append((id(module), name, id(value), _Alive(value)))
            elif name[:1] != "_" and isinstance(value, (list, tuple, dict)):
                items = value.values() if isinstance(value, dict) else value
                held += [(id(module), name, id(item), _Alive(item)) for item in items if isinstance(item, Tensor)]
    return held


class _Alive:
    """Keeps a tensor, whose ``id`` no other has for as long; all are equal."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alive)

    __hash__ = None  # type: ignore[assignment]
