"""The options of SAM training and of each of its variants, and what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lightning_al.checks import Findings, check_choice, check_count, check_flag, check_number
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.training.mixing_in import class_attributes
from lightning_al.words import shown

MANUAL_ONLY = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""Options that manual optimization needs, and that automatic optimization leaves to the Trainer."""

_SECOND_PASS: Mapping[str, Any] = {
    "rho": 0.05,
    "perturbation": "sam",
    "p": 2.0,
    "eta": 0.0,
    "scope": "all",
    "ascent": "global",
    "running_stats": "first",
    "same_noise": False,
}
_TRAJECTORY: Mapping[str, Any] = {"temperature": 5.0, "start_epoch": 5}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "sam": _SECOND_PASS,
    "esam": {**_SECOND_PASS, "beta": 0.5, "gamma": 0.5},
    "gsam": {**_SECOND_PASS, "alpha": 0.4, "rho_min": None, "lr_min": 0.0, "lr_max": None},
    "looksam": {**_SECOND_PASS, "alpha": 0.7, "every": 5},
    "saf": {**_TRAJECTORY, "trajectory_weight": 0.3, "lag": 3},
    "mesa": {**_TRAJECTORY, "trajectory_weight": 0.8, "decay": 0.9995},
}
"""The options of each variant and their defaults."""

_MIXING = ("gsam", "looksam")
"""Variants that put two gradients together, so that both must be of all ranks."""

_NOT_GIVEN: Any = None


@dataclass(frozen=True)
class SAMOptions:
    """The options of one module, resolved and validated; nothing the module assigns to itself can change them.

    :class:`~lightning_al.training.SAMMixin` says what each does. One that is not given, or None, is its variant's
    default; one of another variant stays None.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or not one of the variant.
    """

    variant: str = "sam"
    rho: float = _NOT_GIVEN
    perturbation: str = _NOT_GIVEN
    p: float = _NOT_GIVEN
    eta: float = _NOT_GIVEN
    scope: str = _NOT_GIVEN
    ascent: str = _NOT_GIVEN
    running_stats: str = _NOT_GIVEN
    same_noise: bool = _NOT_GIVEN
    alpha: float = _NOT_GIVEN
    beta: float = _NOT_GIVEN
    gamma: float = _NOT_GIVEN
    every: int = _NOT_GIVEN
    rho_min: float | None = _NOT_GIVEN
    lr_min: float = _NOT_GIVEN
    lr_max: float | None = _NOT_GIVEN
    trajectory_weight: float = _NOT_GIVEN
    temperature: float = _NOT_GIVEN
    start_epoch: int = _NOT_GIVEN
    lag: int = _NOT_GIVEN
    decay: float = _NOT_GIVEN
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str = "norm"

    def __post_init__(self) -> None:
        with Findings() as findings:
            if findings.of(check_choice, "variant", self.variant, VARIANTS):
                defaults = VARIANTS[self.variant]
                for name in _OF_VARIANTS:
                    if getattr(self, name) is not None:
                        findings.refuse_if(name not in defaults, self._of_another(name))
                    else:
                        object.__setattr__(self, name, defaults.get(name))
                self._check_variant(findings)
            findings.of(check_count, "accumulate_grad_batches", self.accumulate_grad_batches)
            clip = self.gradient_clip_val  # 0: no clipping
            findings.of(check_number, "gradient_clip_val", clip, least=0, optional=True, may_be_infinite=True)
            findings.of(check_choice, "gradient_clip_algorithm", self.gradient_clip_algorithm, ("norm", "value"))

    def _of_another(self, name: str) -> str:
        owners = " or ".join(f'"{variant}"' for variant, options in VARIANTS.items() if name in options)
        return (
            f'`{name}` is an option of variant {owners}, not of "{self.variant}", got {shown(getattr(self, name))}. '
            "Leave it out (a class attribute of the module's own needs another name), or choose that `variant`."
        )

    def _check_variant(self, findings: Findings) -> None:
        has = VARIANTS[self.variant].keys()
        if "rho" in has:
            findings.of(check_perturbation, self.rho, self.perturbation, self.p, self.eta)
            findings.of(check_choice, "scope", self.scope, ("all", "weights"))
            is_known = findings.of(check_choice, "ascent", self.ascent, ("global", "per_rank"))
            findings.refuse_if(
                is_known and self.ascent == "per_rank" and self.variant in _MIXING,
                f'`variant="{self.variant}"` puts the gradients at θ and at θ + ε together, both of all ranks, and '
                '`ascent="per_rank"` has the first of one rank only. Use `ascent="global"`.',
            )
            findings.of(check_choice, "running_stats", self.running_stats, ("first", "both"))
            findings.of(check_flag, "same_noise", self.same_noise)
        for name in ("beta", "gamma"):
            if name in has:
                findings.of(check_number, name, getattr(self, name), above=0, most=1)
        if "decay" in has:
            findings.of(check_number, "decay", self.decay, above=0, below=1)
        for name in ("alpha", "trajectory_weight"):
            if name in has:
                findings.of(check_number, name, getattr(self, name), least=0)
        for name in ("every", "lag"):
            if name in has:
                findings.of(check_count, name, getattr(self, name))
        if "start_epoch" in has:
            findings.of(check_count, "start_epoch", self.start_epoch, 0)
            findings.of(check_number, "temperature", self.temperature, above=0)
        if "rho_min" in has:
            self._check_ends(findings)

    def _check_ends(self, findings: Findings) -> None:
        """The radius follows the learning rate between two ends, the upper ones being ``rho`` and ``lr_max``."""
        for least, most in (("rho_min", "rho"), ("lr_min", "lr_max")):
            low, high = getattr(self, least), getattr(self, most)
            are_numbers = findings.of(check_number, least, low, least=0, optional=True)
            if most == "lr_max":
                are_numbers &= findings.of(check_number, most, high, above=0, optional=True)
            if are_numbers and isinstance(high, (int, float)) and low is not None and low > high:
                findings.refuse(f"`{least}` must be at most `{most}`, got {low!r} and {high!r}.")
        findings.refuse_if(
            self.rho_min is None and (self.lr_min != 0 or self.lr_max is not None),
            f"`lr_min` and `lr_max` are the learning rates at which the radius is `rho_min` and `rho`, got "
            f"{self.lr_min!r} and {self.lr_max!r} without `rho_min`. Give it, or leave them out.",
        )


_OF_VARIANTS = tuple(dict.fromkeys(name for options in VARIANTS.values() for name in options))
OPTIONS = tuple(f.name for f in fields(SAMOptions))
"""The names of all options."""


def check_left_to_trainer(cls: type, mixin: type, names: tuple[str, ...]) -> None:
    """Refuse class attributes in front of ``mixin`` with the names of options that it leaves to the Trainer.

    Raises:
        TypeError: With what to write instead.
    """
    for name, (where, value) in class_attributes(cls, mixin, names).items():
        raise TypeError(
            f"{where.__name__}.{name}: {mixin.__name__} leaves this to the Trainer. Remove the attribute and write"
            f" `Trainer({name}={value!r})`."
        )
