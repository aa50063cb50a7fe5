"""The options of SAM training, and what is refused."""

from dataclasses import dataclass

from lightning_al.checks import Findings, check_choice, check_count, check_flag, check_number
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.training.mixing_in import class_attributes

MANUAL_ONLY = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""Options that manual optimization needs, and that automatic optimization leaves to the Trainer."""


@dataclass(frozen=True)
class SAMOptions:
    """The options of one module, resolved and validated; nothing the module assigns to itself can change them.

    :class:`~lightning_al.training.SAMMixin` says what each does.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
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
        with Findings() as findings:
            findings.of(check_perturbation, self.rho, self.perturbation, self.p, self.eta)
            findings.of(check_choice, "scope", self.scope, ("all", "weights"))
            findings.of(check_choice, "ascent", self.ascent, ("global", "per_rank"))
            findings.of(check_choice, "running_stats", self.running_stats, ("first", "both"))
            findings.of(check_flag, "same_noise", self.same_noise)
            findings.of(check_count, "accumulate_grad_batches", self.accumulate_grad_batches)
            clip = self.gradient_clip_val  # 0: no clipping
            findings.of(check_number, "gradient_clip_val", clip, least=0, optional=True, may_be_infinite=True)
            findings.of(check_choice, "gradient_clip_algorithm", self.gradient_clip_algorithm, ("norm", "value"))


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
