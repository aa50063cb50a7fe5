"""SAF and MESA: no second gradient, but a loss that holds outputs near what they were a while ago."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.inference.module_state import flags_kept, modules_of
from lightning_al.inference.precision import at_least_float32
from lightning_al.training.sam.tensors import overwrite


def trajectory_loss(logits: Tensor, before: Tensor, temperature: float) -> Tensor:
    r"""The divergence of each sample's outputs from what they were before (Du 2022, Eq. 8).

    .. math:: \mathrm{KL}\big(\mathrm{softmax}(z_{old} / \tau) \,\|\, \mathrm{softmax}(z / \tau)\big)

    As in the paper; the authors' code multiplies by :math:`\tau^2`.

    Args:
        logits: (B, C, ...), with their graph.
        before: (B, C, ...), constants.
        temperature: :math:`\tau`, > 0.

    Returns:
        (B,), the mean over positions where there are several.

    Example:
        >>> trajectory_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 2.0)
        tensor([0.1109])
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    now = F.log_softmax(logits.to(dtype) / temperature, dim=1)
    then = F.log_softmax(before.detach().to(now) / temperature, dim=1)
    each = (then.exp() * (then - now).masked_fill(then.isneginf(), 0.0)).sum(1)  # a class that is masked out counts 0
    return each.reshape(len(each), -1).mean(1)


class OutputMemory:
    """The outputs of each training sample in the last epochs.

    Args:
        lag: How many epochs back is asked for.

    Example:
        >>> memory = OutputMemory(lag=1)
        >>> memory.record(torch.tensor([7, 3]), torch.tensor([[0.7], [0.3]]))
        >>> memory.close(0, lambda rows: rows)
        >>> memory.recall(1, torch.tensor([3, 5]))
        (tensor([[0.3000], [0.0000]]), tensor([ True, False]))
    """

    def __init__(self, lag: int) -> None:
        self.lag = lag
        self._open: list[tuple[Tensor, Tensor]] = []
        self._epochs: dict[int, dict[str, Tensor]] = {}

    def record(self, ids: Tensor, outputs: Tensor) -> None:
        """Keep the outputs (B, ...) of the samples ``ids`` (B,) in this epoch, in RAM, wherever they were made."""
        self._open.append((ids.detach().cpu(), outputs.detach().cpu()))

    def recall(self, epoch: int, ids: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the outputs (B, ...) of these samples ``lag`` epochs ago, and which of them (B,) were seen then."""
        past = self._epochs.get(epoch - self.lag)
        if past is None or not len(past["ids"]):
            return None
        ids = ids.cpu()
        at = torch.searchsorted(past["ids"], ids).clamp(max=len(past["ids"]) - 1)
        is_known = past["ids"][at] == ids
        outputs = past["outputs"][at]
        outputs[~is_known] = 0
        return outputs, is_known

    def close(self, epoch: int, gather: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        """End an epoch: keep what was recorded in it, of all ranks together, and forget what is older than ``lag``."""
        rows: dict[str, Tensor] = {}
        if self._open:
            ids, outputs = (torch.cat(parts) for parts in zip(*self._open, strict=True))
            rows = {"ids": ids, "outputs": outputs}
        rows = gather(rows)
        self._open = []
        if rows:
            order = rows["ids"].argsort(stable=True)
            ids = rows["ids"][order]
            is_last = torch.cat([ids[1:] != ids[:-1], torch.ones(1, dtype=torch.bool)])  # seen twice: the later counts
            self._epochs[epoch] = {"ids": ids[is_last], "outputs": rows["outputs"][order[is_last]]}
        self._epochs = {e: past for e, past in self._epochs.items() if e > epoch - self.lag}

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, plain."""
        return {"epochs": dict(self._epochs), "open": [{"ids": i, "outputs": o} for i, o in self._open]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember that."""
        self._epochs = dict(state["epochs"])
        self._open = [(rows["ids"], rows["outputs"]) for rows in state["open"]]


class AveragedWeights:
    """Exponential moving averages of a module's weights and of its buffers that are real numbers.

    They are in float32 at least: what one step adds is less than half precision has a next number for.

    Args:
        decay: The share of the average that stays at each step.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> averages = AveragedWeights(decay=0.75)
        >>> for value in (4.0, 8.0):
        ...     _ = layer.weight.data.fill_(value)
        ...     averages.update(layer)  # the first begins it
        >>> with averages.in_place(layer):
        ...     layer.weight.item()
        5.0
        >>> layer.weight.item()
        8.0
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._averages: dict[str, Tensor] = {}

    @property
    def has_begun(self) -> bool:
        """Whether there are averages."""
        return bool(self._averages)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take note of the weights after a step."""
        tensors = {name: at_least_float32(tensor.detach()) for name, tensor in _averaged(module).items()}
        known = {n: a.to(tensors[n]) for n, a in self._averages.items() if n in tensors}
        if known:
            torch._foreach_lerp_(list(known.values()), [tensors[n] for n in known], 1 - self.decay)
        self._averages = {n: known[n] if n in known else tensor.clone() for n, tensor in tensors.items()}

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """Give ``module`` its averages, in ``eval()``, for the block; put weights, buffers and flags back exactly."""
        own = [(tensor, self._averages[n]) for n, tensor in _averaged(module).items() if n in self._averages]
        tensors, averages = [tensor for tensor, _ in own], [average.to(tensor.device) for tensor, average in own]
        with torch.no_grad():
            backup = [tensor.detach().clone() for tensor in tensors]
        try:
            with flags_kept(modules_of(module)):
                module.eval()
                overwrite(tensors, averages)
                yield
        finally:
            overwrite(tensors, backup)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages by the names of weights and buffers."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from these."""
        self._averages = dict(state)


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    buffers = {n: b for n, b in module.named_buffers() if b.is_floating_point() and not b.is_inference()}
    return {**dict(module.named_parameters()), **buffers}
