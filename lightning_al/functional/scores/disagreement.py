"""What several predictions of each sample disagree about: passes with dropout, or members of a committee.

Larger = more wanted. Scores of passes take log-probabilities (B, T, C), as
:func:`~lightning_al.functional.mc_dropout` gives them for T passes, and compute in float64; scores of members take the
logits of K models, (B, K, C), and compute in their precision. Dense outputs are (B, T, C, ...) and (B, K, C, ...): the
plural gives the value of every position, (B, ...); the singular their mean over a sample's positions, (B,).
"""

import math

import torch
from torch import Tensor

from lightning_al.functional.scores.positions import mean_over_positions
from lightning_al.functional.scores.probabilities import check_logits, log_probabilities
from lightning_al.inference.precision import at_least_float32


def mean_entropy(log_probabilities: Tensor) -> Tensor:
    r"""Entropy of the mean prediction, :math:`H\bigl(\frac1T\sum_t p_t\bigr)`, in nats.

    Args:
        log_probabilities: Floating (B, T, C) or (B, T, C, ...); ``-inf`` counts as probability 0.

    Returns:
        (B,) float64, between 0 and log C.

    Raises:
        TypeError: If they are not a floating tensor.
        ValueError: If they have another shape.

    Example:
        >>> mean_entropy(torch.tensor([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]]).log())
        tensor([0.6931, 0.3251], dtype=torch.float64)
    """
    return mean_over_positions(mean_entropies(log_probabilities))


def mean_entropies(log_probabilities: Tensor) -> Tensor:
    """Return the entropy of the mean prediction of every position, (B, T, C, ...) -> (B, ...)."""
    return entropy_of(log_mean(log_probabilities_in_double(log_probabilities)), 1)


def bald(log_probabilities: Tensor) -> Tensor:
    r"""Mutual information of a sample's label and the model (Houlsby et al., 2011), in nats; clamped at 0.

    .. math:: H\Bigl(\tfrac1T\sum_t p_t\Bigr) - \tfrac1T\sum_t H(p_t)

    It is large where each pass is sure and the passes disagree, and 0 where they agree, however unsure.

    Args:
        log_probabilities: Floating (B, T, C) or (B, T, C, ...); ``-inf`` counts as probability 0.

    Returns:
        (B,) float64, between 0 and the smaller of log C and log T.

    Raises:
        TypeError: If they are not a floating tensor.
        ValueError: If they have another shape.

    Example:
        >>> bald(torch.tensor([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]]]).log())
        tensor([0.3681, 0.0000], dtype=torch.float64)
    """
    return mean_over_positions(mutual_informations(log_probabilities))


def mutual_informations(log_probabilities: Tensor) -> Tensor:
    """Return the mutual information of label and model at every position, (B, T, C, ...) -> (B, ...)."""
    return divergence_from_mean(log_probabilities_in_double(log_probabilities))


def variation_ratio(log_probabilities: Tensor) -> Tensor:
    r"""Share of the passes that do not vote for the class with most votes, :math:`1 - \max_c v_c / T`.

    A pass votes for its most probable class, the lowest on ties.

    Args:
        log_probabilities: Floating (B, T, C) or (B, T, C, ...).

    Returns:
        (B,) float64, between 0 and 1 - 1/C.

    Raises:
        TypeError: If they are not a floating tensor.
        ValueError: If they have another shape.

    Example:
        >>> variation_ratio(torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[0.9, 0.1]] * 3]).log())
        tensor([0.3333, 0.0000], dtype=torch.float64)
    """
    return mean_over_positions(variation_ratios(log_probabilities))


def variation_ratios(log_probabilities: Tensor) -> Tensor:
    """Return the share of passes that do not vote with the most, at every position, (B, T, C, ...) -> (B, ...)."""
    log_p = log_probabilities_in_double(log_probabilities)
    classes = torch.arange(log_p.shape[2], device=log_p.device).view(-1, *[1] * (log_p.ndim - 3))
    votes = (log_p.argmax(2, keepdim=True) == classes).sum(1)
    share = votes.amax(1).double() / log_p.shape[1]
    # A model that diverged must not look certain.
    return torch.where(log_p.isnan().any(2).any(1), torch.nan, 1 - share)


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
    return mean_over_positions(vote_entropies(logits))


def vote_entropies(logits: Tensor) -> Tensor:
    """Return the entropy of the members' votes at every position, (B, K, C, ...) -> (B, ...)."""
    _check_members(logits)
    logits = at_least_float32(logits)
    members, classes = logits.shape[1:3]
    largest, votes = logits.max(2)
    counts = torch.stack([(votes == c).sum(1) for c in range(classes)], 1)
    counts = counts.sort(1, descending=True).values
    share = [n / members for n in range(members + 1)]
    terms = logits.new_tensor([-s * math.log(s) if s else 0.0 for s in share])
    # One class after the other, from the most votes to the least, so that equal divisions round alike.
    entropy = (largest - largest).sum(1)
    for number in range(min(members, classes)):
        entropy = entropy + terms[counts[:, number]]
    return entropy


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
    return mean_over_positions(consensus_divergences(logits))


def consensus_divergences(logits: Tensor) -> Tensor:
    """Return the mean divergence of the members from their consensus, (B, K, C, ...) -> (B, ...)."""
    _check_members(logits)
    log_p = log_probabilities(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
    return divergence_from_mean(log_p)


def log_probabilities_in_double(log_probabilities: Tensor) -> Tensor:
    """Return log-probabilities (B, T, C, ...) in float64.

    Raises:
        TypeError: If they are not a floating tensor.
        ValueError: If they have another shape, or are larger than 0.
    """
    if not isinstance(log_probabilities, Tensor) or not log_probabilities.is_floating_point():
        kind = log_probabilities.dtype if isinstance(log_probabilities, Tensor) else type(log_probabilities).__name__
        raise TypeError(f"`log_probabilities` must be a floating tensor (B, T, C), got {kind}.")
    shape = tuple(log_probabilities.shape)
    if len(shape) < 3 or shape[1] < 1 or shape[2] < 2:
        raise ValueError(f"`log_probabilities` must have shape (B, T, C), T >= 1 and C >= 2, got {shape}.")
    if bool((log_probabilities > 1e-3).any()):  # more than rounding
        raise ValueError(
            f"`log_probabilities` must not be larger than 0, got {float(log_probabilities.max()):.4g}: probabilities "
            "need a logarithm, logits `log_softmax`."
        )
    detached = log_probabilities.detach()
    return (detached.cpu() if detached.device.type == "mps" else detached).double().clamp(max=0)  # MPS has no float64


def log_mean(log_p: Tensor) -> Tensor:
    """Return the logarithm of the mean over T, (B, T, C, ...) -> (B, C, ...), precise near probability 1 too."""
    less_one = torch.expm1(log_p).mean(1)
    small = log_p.logsumexp(1) - math.log(log_p.shape[1])
    return torch.where(less_one > -0.5, torch.log1p(less_one.clamp(max=0)), small)


def divergence_from_mean(log_p: Tensor) -> Tensor:
    """Return the mean of KL(p_t || mean p) in nats, at least 0, (B, T, C, ...) -> (B, ...).

    It is computed as the sum of divergences, in which sure predictions that agree do not cancel to rounding errors.
    """
    p = log_p.exp()
    # log p_t - log mean, both from the largest of them, so that neither a leading class nor predictions that agree are
    # rounded away.
    below = log_p - log_p.amax(1, keepdim=True)
    above_mean = below - torch.log1p(torch.expm1(below).mean(1, keepdim=True))
    impossible = p == 0  # 0 * -inf is NaN; NaN stays NaN
    divergences = torch.where(impossible, 0.0, p) * torch.where(impossible, 0.0, above_mean)
    return divergences.sum(2).mean(1).clamp(min=0)


def entropy_of(log_p: Tensor, dimension: int) -> Tensor:
    """Return the entropy over a dimension, of log-probabilities."""
    p = log_p.exp()
    return -torch.where(p == 0, 0.0, p * log_p).sum(dimension)


def _check_members(logits: Tensor) -> None:
    """Refuse what are no logits (B, K, C, ...)."""
    if isinstance(logits, Tensor) and (logits.ndim < 3 or logits.shape[1] < 1):
        raise ValueError(
            f"Logits of a committee must have shape (B, K, C) with K >= 1 members, got {tuple(logits.shape)}."
        )
    check_logits(logits.flatten(0, 1) if isinstance(logits, Tensor) else logits)
