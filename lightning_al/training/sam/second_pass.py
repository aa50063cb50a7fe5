"""What SAM's second pass must leave as it was: buffers, torchmetrics, random states."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_al.inference.module_state import buffers_kept


class RandomState:
    """The state of the generators that a ``training_step`` may draw from: Python's, NumPy's, torch's.

    Args:
        device: The device whose generator is kept beside that of the CPU.

    Example:
        >>> state = RandomState(torch.device("cpu"))
        >>> a = torch.rand(3)
        >>> state.restore()
        >>> bool((torch.rand(3) == a).all())
        True
    """

    def __init__(self, device: torch.device) -> None:
        import numpy as np

        self._python = random.getstate()
        self._numpy = np.random.get_state()  # noqa: NPY002 - users' augmentations draw from this one
        self._cpu = torch.get_rng_state()
        self._set_device: Callable[[Tensor], None] | None = None
        if device.type == "cuda":
            self._device_state = torch.cuda.get_rng_state(device)
            self._set_device = lambda state: torch.cuda.set_rng_state(state, device)
        elif device.type != "cpu":
            generator = torch.get_device_module(device)
            self._device_state = generator.get_rng_state()
            self._set_device = generator.set_rng_state

    def restore(self) -> None:
        """Put all of them back."""
        import numpy as np

        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
        torch.set_rng_state(self._cpu)
        if self._set_device is not None:
            self._set_device(self._device_state)


@contextmanager
def left_unchanged(module: nn.Module, *, buffers: bool) -> Iterator[None]:
    """Undo what the block does to the torchmetrics in ``module`` and, if ``buffers``, to every buffer of it.

    Metrics are put back whole (states, also list states, counts, caches), keeping the identity of each state tensor and
    list, because the compute groups of a :class:`~torchmetrics.MetricCollection` share them.

    Args:
        module: Any module; metrics are found among its submodules.
        buffers: Whether BatchNorm's running statistics and all other buffers are put back too.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with left_unchanged(norm, buffers=True):
        ...     _ = norm(torch.randn(4, 2))
        >>> norm.running_mean, int(norm.num_batches_tracked)
        (tensor([0., 0.]), 0)
    """
    metrics = [part for part in module.modules() if isinstance(part, Metric | MetricCollection)]
    with buffers_kept(module.modules() if buffers else metrics), _metrics_kept(metrics):
        yield


@contextmanager
def _metrics_kept(metrics: Sequence[nn.Module]) -> Iterator[None]:
    """Give metrics their states, counts and caches back; buffers are not among them."""
    undo = [_remember(vars(metric), leave_out=("_modules", "_parameters", "_buffers")) for metric in metrics]
    try:
        yield
    finally:
        for put_back in undo:
            put_back()


def _remember(value: Any, leave_out: tuple[str, ...] = ()) -> Callable[[], None]:
    """A function that gives ``value`` (tensor, list or dict) its present content again, in place."""
    if isinstance(value, Tensor):
        if value.is_inference():  # left by a validation; cannot be written to here, so it needs no copy
            return lambda: None
        copy, version = value.detach().clone(), value._version

        def undo_tensor() -> None:
            if value._version != version:
                with torch.no_grad():
                    value.copy_(copy)

        return undo_tensor
    if isinstance(value, list):
        # The tensors of list states are appended and not written to; copying an epoch of predictions would be slow.
        items = list(value)

        def undo_list() -> None:
            value[:] = items

        return undo_list
    if isinstance(value, dict):
        entries = {k: v for k, v in value.items() if k not in leave_out}
        inner = [_remember(v) for v in entries.values() if isinstance(v, Tensor | list | dict)]

        def undo_dict() -> None:
            for key in [k for k in value if k not in entries and k not in leave_out]:
                del value[key]
            value.update(entries)
            for put_back in inner:
                put_back()

        return undo_dict
    raise TypeError(f"Cannot remember a {type(value).__name__}.")
