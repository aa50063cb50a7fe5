"""The mode in which a model's outputs are functions of its weights, though it folds or keeps something in ``eval()``.

Layers fold a low-rank update into a weight in ``train(False)``, or keep what they computed of a parameter, a table of
attention biases say, for as long as they are in ``eval()``. The outputs are the same, but they have no gradient towards
the parameters any more, and do not follow other weights. In training mode they do; so such modules, and no others, are
run in training mode where that gives the very outputs of ``eval()``.
"""

import contextlib
import functools
import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.calling import ForwardOf, call_with, copies_for_model
from lightning_al.inference.entries import OnePerSample, is_per_sample, map_samples
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.module_state import (
    Attributes,
    attributes_kept,
    modules_of,
    named_modules_of,
    tensors_kept,
    tensors_of_modules,
    with_own_train,
)
from lightning_al.inference.precision import at_least_float32, is_half

log = logging.getLogger(__name__)

Names = frozenset[str]
_CHOSEN: WeakKeyDictionary[nn.Module, dict[Hashable, Names | None]] = WeakKeyDictionary()
"""Of each model, which modules stay in training mode, by which ones might have to; None where none of it works."""
_OF_THE_ENGINE = ("forward",)
"""Attributes that the gradient engine sets while it runs a model."""


@contextlib.contextmanager
def live_weights(model: nn.Module, root: ForwardOf, samples: Any) -> Iterator[None]:
    """Score ``model`` as :func:`~lightning_al.inference.mode.scoring_mode` does, by outputs that follow its weights.

    What modules keep is forgotten before each call of ``root``, so that it is of the weights of that call. At the end
    the model is as it was, weights that its own ``train()`` wrote included.

    Args:
        model: The model, maybe wrapped.
        root: Calls it.
        samples: Inputs, by the first two of which it is seen that the outputs are those of ``eval()``.
    """
    with scoring_mode(model, as_it_comes=True), contextlib.ExitStack() as stack:
        inner = root.model
        modules = modules_of(inner)
        not_torchs = _not_torchs(modules)
        _drop_cached_properties(not_torchs)
        own, holding = with_own_train(modules), [m for m in not_torchs if _may_hold(m)]
        if own or holding:
            _go_live(root, _names_of(inner, own), _names_of(inner, holding), samples)
        elif any(module.training for module in modules):
            inner.eval()
        kept = Attributes(not_torchs, but=_OF_THE_ENGINE)
        hook = root.register_forward_pre_hook(lambda *_: kept.put_back())
        stack.callback(hook.remove)
        yield


def _go_live(root: ForwardOf, own: Names, holding: Names, samples: Any) -> None:
    """Choose the modules that stay in training mode, and put the model in the mode that follows."""
    model = root.model
    modules = modules_of(model)
    weights = tensors_of_modules(modules, "_parameters")
    known = _CHOSEN.setdefault(model, {})
    key = own, holding, tuple(p.requires_grad for p in weights)
    if key not in known:
        samples = _first_two(samples)
        with tensors_kept(modules), attributes_kept(modules):
            model.eval()
            wanted = _outputs(root, samples)
        known[key] = None
        for names in dict.fromkeys((own | holding, own, holding, frozenset[str]())):
            # What a module needs may not be there in this mode.
            with tensors_kept(modules), attributes_kept(modules), contextlib.suppress(Exception):
                _set_mode(model, names, unfold=bool(own))
                if _same(_outputs(root, samples), wanted, half=is_half(weights)):
                    known[key] = names
                    break
        if known[key] is None:
            log.warning(
                "%s gives other outputs in eval() than with the modules that have a `train()` of their own or keep "
                "tensors (%s) in training mode. What they fold away or keep in eval() has no part in the gradients.",
                type(model).__name__,
                ", ".join(sorted(own | holding)[:3]) or "the model itself",
            )
    chosen = known[key]
    if chosen is None:
        model.eval()
    else:
        _set_mode(model, chosen, unfold=bool(own))


def _first_two(samples: Any) -> Any:
    """Return the first two of samples, or all where lists may have an entry for each of them."""
    leaves = pytree.tree_leaves(samples, is_leaf=lambda node: is_per_sample(node) or type(node) in (list, tuple))
    if any(type(leaf) in (list, tuple) for leaf in leaves):
        return samples
    return map_samples(
        lambda node: OnePerSample(node.entries[:2], node.kind), lambda t: t[:2] if t.ndim else t, samples
    )


def _set_mode(model: nn.Module, training: Names, *, unfold: bool) -> None:
    """Unfold what is folded by ``train()``; then set flags alone, without what ``train(False)`` does beside it."""
    if unfold:
        model.train()
    for name, module in named_modules_of(model):
        if module.training != (name in training):
            module.training = name in training


@torch.no_grad()
def _outputs(root: ForwardOf, samples: Any) -> Any:
    kept = Attributes(_not_torchs(modules_of(root)))
    tensors = {n: at_least_float32(t.detach()) for n, t in (*root.named_parameters(), *root.named_buffers())}
    try:
        with draws_undone():
            return call_with(root, tensors, copies_for_model(samples))
    finally:
        kept.put_back()


def _same(outputs: Any, wanted: Any, *, half: bool) -> bool:
    """Whether outputs differ by no more than the rounding of a fold."""
    (a, a_spec), (b, b_spec) = pytree.tree_flatten(outputs), pytree.tree_flatten(wanted)
    pairs = [(x, y) for x, y in zip(a, b, strict=False) if isinstance(x, Tensor) or isinstance(y, Tensor)]
    return a_spec == b_spec and all(_same_tensors(x, y, half=half) for x, y in pairs)


def _same_tensors(a: Any, b: Any, *, half: bool) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point() or a.numel() == 0:
        return torch.equal(a, b)
    tolerance = 0.05 if half else torch.finfo(a.dtype).eps ** 0.6
    largest = float(b.abs().nan_to_num().max())
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def _drop_cached_properties(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        for name in vars(module).keys() - _OF_TORCH:
            if isinstance(getattr(type(module), name, None), functools.cached_property):
                del vars(module)[name]


def _may_hold(module: nn.Module) -> bool:
    """Whether some plain attributes are floating-point tensors, which may follow from weights.

    Those of torchvision's modules are constants, sizes of anchors say, or made by each call.
    """
    if _package_of(type(module)) == "torchvision":
        return False
    attributes = vars(module)
    values = (attributes[name] for name in attributes.keys() - _NOT_PLAIN)
    leaves = (leaf for value in values if isinstance(value, _MAY_HOLD) for leaf in pytree.tree_leaves(value))
    return any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves)


_MAY_HOLD = (Tensor, list, tuple, dict)
_OF_TORCH = frozenset(vars(nn.Module()))
_NOT_PLAIN = _OF_TORCH | {"_flat_weights"}  # a recurrent layer's parameters once more, which torch looks up each time


def _not_torchs(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules that are not torch's own, which keep nothing but what ``functional_call`` knows of."""
    kinds = {kind for kind in set(map(type, modules)) if not _is_torchs(kind)}
    return [module for module in modules if type(module) in kinds]


def _is_torchs(kind: type) -> bool:
    if kind.__module__ == parametrize.__name__:  # of which torch makes a class for each parametrized one
        kind = kind.__bases__[0]
    return _package_of(kind) == "torch"


def _package_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _names_of(model: nn.Module, some: list[nn.Module]) -> Names:
    wanted = set(map(id, some))
    return frozenset(name for name, module in named_modules_of(model) if id(module) in wanted)
