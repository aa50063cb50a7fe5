"""The options of SAM training: where they are looked up, and what is refused."""

import inspect
from dataclasses import dataclass, fields
from typing import Any

from lightning.pytorch import LightningModule

from lightning_al.functional.perturbation import check_perturbation


@dataclass(frozen=True)
class SAMOptions:
    """The options of one module, resolved and validated; nothing the module assigns to itself can change them."""

    rho: float = 0.05
    perturbation: str = "sam"
    p: float = 2.0
    eta: float = 0.0
    scope: str = "all"
    ascent: str = "global"
    running_stats: str = "first"
    same_noise: bool = False
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str = "norm"

    def __post_init__(self) -> None:
        check_perturbation(self.rho, self.perturbation, self.p, self.eta)
        for name, allowed in (
            ("scope", ("all", "weights")),
            ("ascent", ("global", "per_rank")),
            ("running_stats", ("first", "both")),
            ("same_noise", (False, True)),
            ("gradient_clip_algorithm", ("norm", "value")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, got {getattr(self, name)!r}.")
        n, clip = self.accumulate_grad_batches, self.gradient_clip_val
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"`accumulate_grad_batches` must be an integer >= 1, got {n!r}.")
        if clip is not None and not (isinstance(clip, (int, float)) and clip >= 0):
            raise ValueError(f"`gradient_clip_val` must be a number >= 0 (0: no clipping) or None, got {clip!r}.")


def class_options(cls: type, mixin: type, names: tuple[str, ...]) -> dict[str, Any]:
    """The options set in the bodies of the classes in front of ``mixin``; those behind it speak for themselves."""
    chosen: dict[str, Any] = {}
    for c in reversed(cls.__mro__[: cls.__mro__.index(mixin)]):
        for name in set(vars(c)) & {f.name for f in fields(SAMOptions)}:
            if name not in names:
                raise TypeError(
                    f"{c.__name__}.{name}: {mixin.__name__} leaves this to the Trainer. Remove the attribute and write"
                    f" `Trainer({name}={vars(c)[name]!r})`."
                )
            chosen[name] = vars(c)[name]
    return chosen


def init_parameters(cls: type, mixin: type) -> set[str]:
    """The names that the ``__init__`` behind ``mixin`` takes, as far as keywords reach."""
    names: set[str] = set()
    for c in cls.__mro__[cls.__mro__.index(mixin) + 1 :]:
        if c is LightningModule:
            break
        if "__init__" in vars(c):
            parameters = inspect.signature(vars(c)["__init__"]).parameters.values()
            names |= {q.name for q in parameters if q.kind in (q.POSITIONAL_OR_KEYWORD, q.KEYWORD_ONLY)}
            if not any(q.kind is q.VAR_KEYWORD for q in parameters):
                break
    return names
