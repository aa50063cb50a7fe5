"""Class scores that a task of one's own gives, refused where the defaults of its other methods cannot take them."""

from typing import Any

from torch import Tensor

from lightning_al.functional.scores.probabilities import check_logits


def has_own_logits(task: Any) -> bool:
    """Whether a task's ``logits`` is of a class that is none of the package's."""
    owner = next(each for each in type(task).__mro__ if "logits" in vars(each))
    return owner.__module__.partition(".")[0] != __name__.partition(".")[0]


def check_logits_of(task: Any, logits: Any, method: str) -> None:
    """Refuse what the default of a task's method cannot work with; where its logits are its own, with the way out.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it has fewer than two dimensions or classes.
    """
    try:
        check_logits(logits)
    except (TypeError, ValueError) as error:
        if not has_own_logits(task):
            raise
        name, kind = type(task).__name__, type(logits).__name__
        given = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {kind}"
        raise type(error)(
            f"`{name}.logits` gives {given}, and the default of `{name}.{method}` takes class scores alone, a "
            "floating tensor (B, C, ...) with C >= 2. Return such scores, or override `check(model, batch)` too, "
            "and `score`, `pseudo_targets` and `loss`, which then work with what `logits` gives."
        ) from None
