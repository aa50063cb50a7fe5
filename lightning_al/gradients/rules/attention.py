"""Multi-head attention: three projections and one output layer, all linear, around a core without weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.parameters import ParameterRows
from lightning_al.gradients.rules.composites import LinearPart, Parts, Projection, register_composite


def _has_plain_output(module: nn.Module) -> bool:
    return type(module.out_proj) is torch.nn.modules.linear.NonDynamicallyQuantizableLinear


@register_composite(nn.MultiheadAttention, accepts=_has_plain_output, inside=("out_proj",))
def attention(
    parts: Parts, m: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any
) -> tuple[Tensor, Any]:
    """Return what ``nn.MultiheadAttention`` does, its linear parts by ``parts``.

    Args:
        parts: Does the linear parts.
        m: The attention layer.
        query: As of the layer's forward.
        key: As of the layer's forward.
        value: As of the layer's forward.
        args: None.
        options: As of the layer's forward.

    Raises:
        NoRule: For options without a rule.
    """
    if args:
        raise NoRule("attention called with its options by position")
    if m.bias_k is not None or m.add_zero_attn or query.ndim != 3:
        raise NoRule("attention with bias_k, with zero attention or without a batch")
    d, one = m.embed_dim, m._qkv_same_embed_dim
    alike = query is key and key is value
    if not m.batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))

    def project(x: Tensor, part: int, count: int = 1) -> Tensor:
        start, stop = part * d, (part + count) * d
        name = "in_proj_weight" if one else ("q_proj_weight", "k_proj_weight", "v_proj_weight")[part]
        weight = m.in_proj_weight[start:stop] if one else getattr(m, name)
        bias = None if m.in_proj_bias is None else m.in_proj_bias[start:stop]
        names = {
            "weight": ParameterRows(name, start, stop) if one else ParameterRows(name),
            "bias": ParameterRows("in_proj_bias", start, stop),
        }
        return parts.apply(LinearPart(Projection(weight, bias), names), x)

    if alike and one:
        q, k, v = project(query, 0, 3).chunk(3, -1)
    else:
        q, k, v = (project(x, part) for part, x in enumerate((query, key, value)))
    heads = [t.unflatten(2, (m.num_heads, -1)).transpose(1, 2) for t in (q, k, v)]
    mask = _mask(m, query, key, **options)
    if options.get("need_weights", True):
        scores = heads[0] @ heads[1].transpose(2, 3) / heads[0].shape[-1] ** 0.5
        weights = (scores if mask is None else scores + mask).softmax(-1)
        mixed = weights @ heads[2]
        shown = weights.mean(1) if options.get("average_attn_weights", True) else weights
    else:
        mixed, shown = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=mask), None
    mixed = mixed.transpose(1, 2).flatten(2)
    names = {"weight": ParameterRows("out_proj.weight"), "bias": ParameterRows("out_proj.bias")}
    y = parts.apply(LinearPart(Projection(m.out_proj.weight, m.out_proj.bias), names), mixed)
    return (y if m.batch_first else y.transpose(0, 1)), shown


def _mask(
    m: Any,
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    **_: Any,
) -> Tensor | None:
    """Return both masks as one to add, broadcasting over (N, heads, T, S)."""
    total: Tensor | None = None
    if attn_mask is not None:
        total = _additive(attn_mask, query)
        total = total.unflatten(0, (len(query), m.num_heads)) if total.ndim == 3 else total
    if key_padding_mask is not None:
        padding = _additive(key_padding_mask, query)[:, None, None, :]
        total = padding if total is None else total + padding
    return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
