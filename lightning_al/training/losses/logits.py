"""The logits of each sample in a ``training_step`` that returns one number for the batch."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class WatchedLogits(TorchFunctionMode):
    """Watches what ``cross_entropy`` and ``nll_loss``, and the modules of them, are called on.

    Example:
        >>> import torch
        >>> z = torch.zeros(2, 3, requires_grad=True)
        >>> with WatchedLogits() as watched:
        ...     _ = F.cross_entropy(z, torch.tensor([0, 1])) + F.cross_entropy(z, torch.tensor([2, 1]))
        >>> watched.logits is z
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.cross_entropy, F.nll_loss):
            logits = args[0] if args else kwargs["input"]
            if logits.requires_grad and all(logits is not seen for seen in self._seen):
                self._seen.append(logits)
        return func(*args, **kwargs)

    @property
    def logits(self) -> Tensor | None:
        """Logits (B, C, ...), with their graph; None if there were none, or of several heads."""
        return self._seen[0] if len(self._seen) == 1 else None
