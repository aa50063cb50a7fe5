"""Whether a sigmoid is the last thing that a model does, which shows in no number."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_SIGMOIDS = {torch.sigmoid, Tensor.sigmoid, torch.sigmoid_, Tensor.sigmoid_, F.sigmoid, torch.special.expit}


class _Sigmoids(TorchFunctionMode):
    """Keeps what the calls of a sigmoid gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SIGMOIDS:
            self.given.append(result)
        return result


def is_squashed(run: Callable[[], Tensor]) -> tuple[Tensor, bool]:
    """Return what ``run`` gives, and whether that is what a sigmoid gave, or a view of it.

    Example:
        >>> is_squashed(lambda: torch.zeros(1, 1).sigmoid().squeeze(1))
        (tensor([0.5000]), True)
        >>> is_squashed(lambda: torch.zeros(1).sigmoid() + 1)
        (tensor([1.5000]), False)
    """
    with _Sigmoids() as sigmoids:
        outputs = run()
    return outputs, any(given.data_ptr() == outputs.data_ptr() for given in sigmoids.given)
