"""The loss of contrastive learning: two views of a sample are alike, those of others are not."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from lightning_al.checks import Findings, check_number, check_tensor
from lightning_al.inference.precision import at_least_float32


def nt_xent_loss(first: Tensor, second: Tensor, *, temperature: float = 0.5) -> Tensor:
    r"""Normalised, temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, Eq. 1).

    Of 2B projections :math:`z`, two of each sample, :math:`i` finds its partner :math:`j` among all others, by the
    cosine of the angle between them:

    .. math:: \frac{1}{2B} \sum_i -\log \frac{\exp(\cos(z_i, z_j) / \tau)}{\sum_{k \ne i} \exp(\cos(z_i, z_k) / \tau)}

    Args:
        first: Projections of one view of each sample, (B, d).
        second: Of another view of the same samples, (B, d).
        temperature: :math:`\tau`, above 0.

    Returns:
        A number, in float32 at least. 0 of a batch of one sample, which has no others.

    Raises:
        TypeError: If ``temperature`` is no number, or the projections are no tensors.
        ValueError: If it is not above 0, or the shapes are not both (B, d) with B at least 1.

    Example:
        >>> views = torch.eye(2)
        >>> nt_xent_loss(views, views, temperature=1.0)  # log(1 + 2 / e)
        tensor(0.5514)
        >>> nt_xent_loss(views, views.flip(0), temperature=1.0)
        tensor(1.5514)
    """
    with Findings() as findings:
        findings.of(check_number, "temperature", temperature, above=0)
        are_tensors = [findings.of(check_tensor, n, x) for n, x in (("first", first), ("second", second))]
        if all(are_tensors):
            findings.refuse_if(
                first.ndim != 2 or first.shape != second.shape or len(first) == 0,
                f"`first` and `second` must both be (B, d), got {tuple(first.shape)} and {tuple(second.shape)}.",
            )
    with torch.autocast(first.device.type, enabled=False):  # which would multiply in half precision
        z = normalize(at_least_float32(torch.cat([first, second])), dim=1)
        cosines = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return cross_entropy(cosines.masked_fill(itself, -torch.inf), partner)
