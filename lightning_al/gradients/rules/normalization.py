"""Normalisation layers: an affine map of inputs that are normalised without the weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.rules.base import Gradients, Rule, register_rule


class AffineRule(Rule):
    """``y = w · n(x) + b`` with ``n`` free of parameters."""

    def normalised(self, x: Tensor) -> Tensor:
        """Return ``n(x)``."""
        raise NotImplementedError

    def _reduced(self, x: Tensor, values: Tensor) -> Tensor:
        """Sum over positions, (N, ...) -> (U, *shape of the weight)."""
        raise NotImplementedError

    def _broadcast(self, values: Tensor, x: Tensor) -> Tensor:
        """Shape (U, *shape of the weight) so that it broadcasts over ``x``."""
        raise NotImplementedError

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape)."""
        result: Gradients = {}
        if "weight" in self.names:
            result["weight"] = self._reduced(x, e * self.normalised(x))
        if "bias" in self.names:
            result["bias"] = self._reduced(x, e)
        return result

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights."""
        weight, bias = (self._of_units(name, weights) for name in ("weight", "bias"))
        y = self.normalised(x)
        if weight is not None:
            y = y * self._broadcast(weight, x)
        return y if bias is None else y + self._broadcast(bias, x)

    def _of_units(self, name: str, weights: Gradients) -> Tensor | None:
        own: Tensor | None = getattr(self.module, name, None)
        if own is None:
            return None
        return weights[name] if name in weights else own.expand(self.units, *own.shape)


class _OverLastDimensions(AffineRule):
    """Weights over the last dimensions, one for each entry of what is normalised."""

    def _reduced(self, x: Tensor, values: Tensor) -> Tensor:
        shape = self.module.normalized_shape
        middle = values.ndim - len(shape)  # type: ignore[arg-type]
        values = values.flatten(1, middle - 1).sum(1) if middle > 1 else values
        return self.sum_rows(values)

    def _broadcast(self, values: Tensor, x: Tensor) -> Tensor:
        missing = x.ndim - values.ndim
        return self.rows(values, len(x)).view(len(x), *[1] * missing, *values.shape[1:])


@register_rule(nn.LayerNorm)
class LayerNormRule(_OverLastDimensions):
    """Layer normalisation."""

    def normalised(self, x: Tensor) -> Tensor:
        """Return the input normalised without the weights."""
        return F.layer_norm(x, self.module.normalized_shape, eps=self.module.eps)  # type: ignore[arg-type]


@register_rule(nn.RMSNorm)
class RMSNormRule(_OverLastDimensions):
    """Root-mean-square normalisation."""

    def normalised(self, x: Tensor) -> Tensor:
        """Return the input normalised without the weights."""
        return F.rms_norm(x, self.module.normalized_shape, None, self.module.eps)  # type: ignore[arg-type]


class _OverChannels(AffineRule):
    """One weight for each channel, the second dimension."""

    def _reduced(self, x: Tensor, values: Tensor) -> Tensor:
        return self.sum_rows(values.flatten(2).sum(2) if values.ndim > 2 else values)

    def _broadcast(self, values: Tensor, x: Tensor) -> Tensor:
        return self.per_row(values, x, 1)


@register_rule(nn.GroupNorm)
class GroupNormRule(_OverChannels):
    """Group normalisation."""

    takes_planes = True

    def normalised(self, x: Tensor) -> Tensor:
        """Return the input normalised without the weights."""
        return F.group_norm(x, self.module.num_groups, eps=self.module.eps)  # type: ignore[arg-type]

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights: rows are channels of one row, in one call."""
        weight, bias = self._of_units("weight", weights), self._of_units("bias", weights)
        if weight is None or bias is None or not x.is_contiguous() or x.numel() == 0:
            return super().perturbed(x, weights)
        n = len(x)
        weights_of_rows, biases_of_rows = (self.rows(each, n).reshape(-1) for each in (weight, bias))
        layer: Any = self.module
        one_row = x.flatten(0, 1).unsqueeze(0)
        y = F.group_norm(one_row, n * layer.num_groups, weights_of_rows, biases_of_rows, layer.eps)
        return y.view_as(x)


@register_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
class InstanceNormRule(_OverChannels):
    """Instance normalisation, by each sample's own statistics or by running ones."""

    takes_planes = True

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer."""
        return "weight" in module._parameters

    def normalised(self, x: Tensor) -> Tensor:
        """Return the input normalised without the weights."""
        m: Any = self.module
        return F.instance_norm(
            x, m.running_mean, m.running_var, use_input_stats=not m.track_running_stats, momentum=0.0, eps=m.eps
        )


@register_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
class BatchNormRule(_OverChannels):
    """Batch normalisation by running statistics: a fixed affine map of each sample alone."""

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer.

        Without running statistics samples would depend on each other.
        """
        return module.running_mean is not None and module.running_var is not None

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        m: Any = self.module
        return F.batch_norm(x, m.running_mean, m.running_var, weight=m.weight, bias=m.bias, momentum=0.0, eps=m.eps)

    def normalised(self, x: Tensor) -> Tensor:
        """Return the input normalised without the weights."""
        m: Any = self.module
        return F.batch_norm(x, m.running_mean, m.running_var, momentum=0.0, eps=m.eps)

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape).

        ``Σ e n(x) = (Σ e x - μ Σ e) / σ`` saves forming ``n(x)``.
        """
        m: Any = self.module
        sums = e.flatten(2).sum(2) if e.ndim > 2 else e
        result: Gradients = {}
        if "weight" in self.names:
            products = (e * x).flatten(2).sum(2) if e.ndim > 2 else e * x
            scale = torch.rsqrt(m.running_var + m.eps)
            result["weight"] = self.sum_rows((products - m.running_mean * sums) * scale)
        if "bias" in self.names:
            result["bias"] = self.sum_rows(sums)
        return result

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights.

        One scale and one shift per sample and channel.
        """
        m: Any = self.module
        weight, bias = self._of_units("weight", weights), self._of_units("bias", weights)
        scale = torch.rsqrt(m.running_var + m.eps).expand(self.units, -1)
        if weight is not None:
            scale = scale * weight
        shift = -m.running_mean * scale
        if bias is not None:
            shift = shift + bias
        return torch.addcmul(self.per_row(shift, x, 1), x, self.per_row(scale, x, 1))
