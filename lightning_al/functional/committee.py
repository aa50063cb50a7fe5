"""How much a committee disagrees. Larger = more disagreement = more wanted."""

import math

import torch
from torch import Tensor

from lightning_al.functional.bald import divergence_from_mean
from lightning_al.functional.probabilities import check_logits, log_probabilities
from lightning_al.functional.uncertainty import _mean_over_positions
from lightning_al.gradients.precision import at_least_float32


def _check_members(logits: Tensor) -> None:
    if isinstance(logits, Tensor) and (logits.ndim < 3 or logits.shape[1] < 1):
        raise ValueError(
            f"Logits of a committee must have shape (B, K, C) with K >= 1 members, got {tuple(logits.shape)}."
        )
    check_logits(logits.flatten(0, 1) if isinstance(logits, Tensor) else logits)


def vote_entropy(logits: Tensor) -> Tensor:
    r"""Entropy of the members' votes (Dagan & Engelson, ICML 1995).

    .. math:: -\sum_c \frac{V_c}{K} \log \frac{V_c}{K}, \qquad V_c = \#\{k : \arg\max_j z_{kj} = c\}

    Each of the K members gives one vote to its most probable class, the first of equal ones. Equal divisions of the
    votes give exactly equal scores, of which there are few: K = 5 has seven.

    Args:
        logits: Floating (B, K, C), or (B, K, C, ...) for dense outputs, whose positions are averaged. Log-probabilities
            are logits too.

    Returns:
        Entropy in nats, (B,), between 0 and log min(K, C); NaN where a member's largest logit is NaN or infinite.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, K, C, ...), C >= 2.

    Example:
        >>> vote_entropy(torch.tensor([[[2.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]]))
        tensor([0.0000, 0.6931])
    """
    _check_members(logits)
    logits = at_least_float32(logits)
    members, classes = logits.shape[1:3]
    largest, votes = logits.max(2)
    counts = torch.stack([(votes == c).sum(1) for c in range(classes)], 1)
    counts = counts.sort(1, descending=True).values
    share = [n / members for n in range(members + 1)]
    terms = logits.new_tensor([-s * math.log(s) if s else 0.0 for s in share])
    # One class after the other, from the most votes to the least, so that equal divisions round alike.
    scores = (largest - largest).sum(1)
    for number in range(min(members, classes)):
        scores = scores + terms[counts[:, number]]
    return _mean_over_positions(scores)


def consensus_kl(logits: Tensor) -> Tensor:
    r"""Mean divergence of the members from their consensus (McCallum & Nigam, ICML 1998).

    .. math:: \frac{1}{K} \sum_k \mathrm{KL}(p_k \,\|\, \bar p), \qquad \bar p = \frac{1}{K} \sum_k p_k

    This *is* the Jensen-Shannon divergence of the members, :math:`H(\bar p) - \frac{1}{K} \sum_k H(p_k)`, the mutual
    information of label and member (BALD, with members for dropout masks): there is no second score of that name.

    Args:
        logits: Floating (B, K, C), or (B, K, C, ...) for dense outputs, whose positions are averaged. Log-probabilities
            are logits too. A class masked out with ``-inf`` counts as probability 0.

    Returns:
        Divergence in nats, (B,), between 0 and log min(K, C).

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, K, C, ...), C >= 2.

    Example:
        >>> consensus_kl(torch.tensor([[[9.0, 0.0], [9.0, 0.0]], [[99.0, 0.0], [0.0, 99.0]]]))
        tensor([0.0000, 0.6931])
    """
    _check_members(logits)
    log_p = log_probabilities(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
    return _mean_over_positions(divergence_from_mean(log_p))
