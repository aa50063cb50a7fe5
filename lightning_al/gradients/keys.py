"""Keys that tell one model, option or kind of input from another: what was found out holds for equal keys only."""

import functools
import types
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.inference.module_state import modules_of

_PLAIN = (bool, int, float, str, torch.dtype)
_OF_MODULES = frozenset(vars(nn.Module()))
"""Attributes that torch gives every module, ``training`` among them."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def option_key(option: Any) -> Hashable:
    """Tell functions apart by their code and what is bound to it: the same lambda may be made anew for every batch."""
    if not callable(option):
        return (type(option), option) if isinstance(option, Hashable) else (type(option), id(option))
    if isinstance(option, functools.partial):
        bound = (*option.args, *(value for _, value in sorted(option.keywords.items())))
        return "partial", option_key(option.func), tuple(option.keywords), tuple(map(settings_key, bound))
    code = getattr(option, "__code__", None)
    if code is None:
        return settings_key(option)
    cells = [c.cell_contents for c in getattr(option, "__closure__", None) or () if c != types.CellType()]
    bound = (*cells, *(getattr(option, "__defaults__", None) or ()), getattr(option, "__self__", None))
    return option.__module__, option.__qualname__, code, tuple(map(settings_key, bound))


def settings_key(thing: Any) -> Hashable:
    """What a thing is, and its plain settings: what may decide how a model computes."""
    if thing is None or isinstance(thing, _PLAIN):
        return type(thing), thing
    if isinstance(thing, nn.Module):
        return _module_key(thing)
    attributes = vars(thing) if hasattr(thing, "__dict__") else {}
    return type(thing), getattr(thing, "__code__", None), _plain_settings(attributes)


def _module_key(module: nn.Module) -> Hashable:
    """:func:`settings_key` of a module, with the code of its hooks."""
    attributes = vars(module)
    hooks = [(name, *map(_code_of, attributes[name].values())) for name in _HOOKS if attributes[name]]
    return type(module), _plain_settings(attributes), tuple(hooks)


def _plain_settings(attributes: dict[str, Any]) -> Hashable:
    settings: list[Hashable] = []
    for name, value in attributes.items():
        if name in _OF_MODULES:
            continue
        if type(value) in _PLAIN or value is None or isinstance(value, _PLAIN):  # in that order: it is the fastest
            settings.append((name, value))
        elif callable(value) and hasattr(value, "__code__"):
            settings.append((name, value.__code__))
    return tuple(settings)


def _code_of(function: Any) -> Any:
    return getattr(function, "__code__", type(function))


def input_key(leaf: Any) -> Hashable:
    """What of an input decides how a model goes about it: names of files, for one, do not."""
    if isinstance(leaf, Tensor):
        return leaf.shape[1:], leaf.dtype, leaf.device
    return repr(leaf) if leaf is None or isinstance(leaf, (bool, int, float)) else str(type(leaf))


def model_key(root: nn.Module, params: Iterable[str], options: Iterable[Any]) -> Hashable:
    """Tell a model as it is, in what trains and how it computes, from others, and options from others."""
    return tuple(map(option_key, options)), tuple(map(_module_key, modules_of(root))), tuple(params)
