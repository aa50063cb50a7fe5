"""BatchBALD: the batch whose labels together say the most about the model."""

import torch
from torch import Tensor

from lightning_al.checks import check_count, check_k, needed_generator
from lightning_al.distributed.randomness import generator as generator_of
from lightning_al.distributed.shard import Shard, check_finite
from lightning_al.functional.scores.disagreement import entropy_of, log_probabilities_in_double
from lightning_al.stages import steps

_TIE = 1e-12  # nats; rounding is about 1e-15
MIXED_AT_ONCE = 2**20  # numbers of the mixed probabilities: a few MB


def batch_bald(log_probabilities: Tensor, k: int, *, generator: torch.Generator, configurations: int = 1000) -> Tensor:
    r"""Greedily pick ``k`` samples of the largest joint mutual information with the model (Kirsch et al., 2019).

    .. math:: I(y_1, \dots, y_k; \omega) = H(y_1, \dots, y_k) - \sum_i \mathbb E_\omega H(y_i \mid \omega)

    "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning". Each pick adds the most to
    it. Unlike the k largest scores of BALD, which may all ask the same, a second sample like the first adds little.
    The pick that follows configurations :math:`c` of the labels of those before adds

    .. math:: \sum_c p(c) \Bigl[ H\bigl(\textstyle\sum_t w_{ct}\, p_t(y)\bigr) - \sum_t w_{ct} H(p_t(y)) \Bigr],
        \qquad w_{ct} \propto p(c \mid \omega_t)

    over all configurations while there are at most ``configurations`` possible ones (impossible ones are dropped), so
    exactly; from there on over as many drawn ones, an equal number from every pass. The authors' code has the last
    term's expectation over :math:`\omega` in place of the drawn configurations; its estimates of what a pick adds
    may then be negative, and its products of probabilities underflow in large batches.

    T passes can tell log T nats at most. Once those are used up, what is left adds nothing, and the lowest positions
    are taken: take more passes than picks. Gains within 1e-12 nats count as equal.

    O(N M T C) time a pick for M configurations; 16 N T C bytes and a few tens of MB beside them.

    Args:
        log_probabilities: Floating (N, T, C), of T passes with the same masks for all samples; ``-inf`` counts as
            probability 0. Computed in float64.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness: it gives one 64-bit seed, also if ``k`` is 0. What
            is drawn depends on it and on the samples picked, not on the order of the others.
        configurations: M above; those drawn are rounded up to a multiple of T.

    Returns:
        LongTensor (k,) of distinct positions in the order of the picks, the lowest on ties, on the CPU.

    Raises:
        TypeError: If ``log_probabilities`` is not a floating tensor.
        ValueError: If there is no ``generator``, ``k`` or ``configurations`` is out of range, or there are other
            shapes, or NaN.

    Example:
        >>> surer, other = [[0.99, 0.01], [0.99, 0.01], [0.01, 0.99]], [[0.1, 0.9], [0.9, 0.1], [0.9, 0.1]]
        >>> log_p = torch.tensor([surer, surer, other]).log()  # BALD takes the first two
        >>> batch_bald(log_p, 2, generator=torch.Generator().manual_seed(0))
        tensor([0, 2])
    """
    check_configurations(configurations)
    generator = needed_generator(generator, "batch_bald", "draws configurations of labels")
    log_p = log_probabilities_in_double(log_probabilities).cpu()
    if log_p.ndim != 3:
        raise ValueError(f"`log_probabilities` must have shape (N, T, C), got {tuple(log_p.shape)}.")
    check_k(k, len(log_p))
    p = log_p.exp()
    check_finite(p.flatten(1), "log_probabilities", Shard.whole(len(p)))
    seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=generator))
    entropies = entropy_of(log_p, 2)
    labels: _Exact | _Drawn = _Exact(log_p.shape[1])
    free = torch.ones(len(p), dtype=torch.bool)
    picks: list[int] = []
    for _ in steps(range(k)):
        gains = _gains(labels, p, entropies).masked_fill_(~free, -torch.inf)
        picks.append(int((gains >= gains.max() - _TIE).nonzero()[0]))
        free[picks[-1]] = False
        if isinstance(labels, _Exact) and labels.count * log_p.shape[2] > configurations:
            labels = _Drawn(log_p.shape[1], configurations, seed)
            for pick in picks[:-1]:
                labels.add(log_p[pick])
        labels.add(log_p[picks[-1]])
    return torch.tensor(picks, dtype=torch.long)


def check_configurations(configurations: int) -> None:
    """Refuse a number of configurations that :func:`batch_bald` cannot go by.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is below 1.
    """
    check_count("configurations", configurations)


class _Exact:
    """All configurations of labels that are possible.

    Attributes:
        log_joint: (M, T), the logarithm of each one's probability in each pass.
    """

    def __init__(self, passes: int) -> None:
        self.log_joint = torch.zeros(1, passes, dtype=torch.float64)

    @property
    def count(self) -> int:
        return len(self.log_joint)

    def add(self, log_p: Tensor) -> None:
        """Take a sample's log-probabilities (T, C) into account."""
        joint = (self.log_joint.unsqueeze(2) + log_p).transpose(1, 2).flatten(0, 1)
        self.log_joint = joint[joint.exp().sum(1) > 0]

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return each configuration's probability, (M,), and what it says of the passes, (M, T)."""
        shares = self.log_joint.exp().mean(1)
        return shares / shares.sum(), self.log_joint.softmax(1)


class _Drawn:
    """Configurations drawn from the passes in turn.

    Args:
        passes: T.
        count: How many, rounded up to a multiple of T.
        seed: For the draws.
    """

    def __init__(self, passes: int, count: int, seed: int) -> None:
        self.source = torch.arange(-(-count // passes) * passes) % passes
        self.seed = seed
        self.added = 0
        self.log_joint = torch.zeros(len(self.source), passes, dtype=torch.float64)

    def add(self, log_p: Tensor) -> None:
        """Draw a label for a sample of log-probabilities (T, C) in every configuration."""
        draws = torch.rand(
            len(self.source), 1, generator=generator_of(self.seed, "label", self.added), dtype=torch.float64
        )
        cumulative = log_p.exp().cumsum(1)[self.source]
        drawn = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True).squeeze(1)
        # Rounding may reach the end, whose class need not be possible.
        last = log_p.shape[1] - 1 - (log_p.exp() > 0).flip(1).int().argmax(1)
        self.log_joint += log_p[:, torch.minimum(drawn, last[self.source])].T
        self.added += 1

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return each configuration's probability, (M,), and what it says of the passes, (M, T)."""
        return torch.full((len(self.source),), 1 / len(self.source), dtype=torch.float64), self.log_joint.softmax(1)


def _gains(labels: _Exact | _Drawn, p: Tensor, entropies: Tensor) -> Tensor:
    """What each sample adds, (N,), of probabilities (N, T, C) and their entropies (N, T)."""
    shares, weights = labels.weights()
    gains = -(entropies @ (shares @ weights))
    size = max(MIXED_AT_ONCE // (len(weights) * p.shape[2]), 1)
    for some, some_gains in zip(p.split(size), gains.split(size), strict=True):
        mixed = weights @ some.transpose(0, 1).flatten(1)  # (M, n C)
        mixed = mixed.log().clamp_(min=torch.finfo(mixed.dtype).min).mul_(mixed)
        some_gains.sub_((shares @ mixed).view(len(some), -1).sum(1))
    return gains.clamp_(min=0)
