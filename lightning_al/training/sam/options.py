"""The options of SAM training, and what is refused."""

from dataclasses import dataclass

from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.training.mixing_in import class_attributes

MANUAL_ONLY = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""Options that manual optimization needs, and that automatic optimization leaves to the Trainer."""


@dataclass(frozen=True)
class SAMOptions:
    """The options of one module, resolved and validated; nothing the module assigns to itself can change them.

    :class:`~lightning_al.training.SAMMixin` says what each does.
    """

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
