"""The network that tells labelled from unlabelled samples by what their neighbours in a graph look like."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.checks import Findings, check_count, check_number


class GCN(nn.Module):
    r"""Two graph convolutions (Kipf & Welling, ICLR 2017).

    .. math:: H = \mathrm{ReLU}(A V W_1 + b_1), \qquad z = A H w_2 + b_2

    The graph :math:`A` stays outside: the network gets :math:`A V`, which does not change in training, and a function
    that multiplies by :math:`A`. Weights and biases are drawn uniformly from :math:`\pm 1 / \sqrt{\text{outputs}}` of
    their layer, as in the authors' code of graph convolutions and in that of CoreGCN.

    Args:
        in_features: d.
        hidden: Width of the hidden layer.
        dropout: Probability with which an entry of :math:`H` is dropped in ``train()``; the others are divided by
            what is left.
        generator: A CPU generator for the weights, here, and for the dropout, in each forward pass in ``train()``.

    Raises:
        TypeError: If a number is no number.
        ValueError: If one is out of range.

    Example:
        >>> network = GCN(3, hidden=5, generator=torch.Generator().manual_seed(0)).eval()
        >>> hidden, logits = network(torch.zeros(4, 3), lambda x: x)
        >>> hidden.shape, logits.shape
        (torch.Size([4, 5]), torch.Size([4]))
    """

    def __init__(
        self,
        in_features: int,
        *,
        hidden: int = 128,
        dropout: float = 0.3,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        with Findings() as findings:
            findings.of(check_count, "in_features", in_features, 0)
            findings.of(check_count, "hidden", hidden)
            findings.of(check_number, "dropout", dropout, least=0, below=1)
        self.dropout = dropout
        self.generator = generator

        def drawn(*shape: int, outputs: int) -> nn.Parameter:
            bound = 1 / math.sqrt(outputs)
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        self.hidden_weight = drawn(in_features, hidden, outputs=hidden)
        self.hidden_bias = drawn(hidden, outputs=hidden)
        self.output_weight = drawn(hidden, 1, outputs=1)
        self.output_bias = drawn(1, outputs=1)

    def forward(self, aggregated: Tensor, propagate: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the hidden layer (N, hidden) and the logit (N,) of each node.

        Args:
            aggregated: (N, d), :math:`A V`.
            propagate: ``X -> A X`` for X of shape (N, 1).
        """
        hidden = F.relu(torch.addmm(self.hidden_bias, aggregated, self.hidden_weight))
        if self.training and self.dropout:
            hidden = hidden * self._mask(hidden)
        logits = propagate(hidden @ self.output_weight) + self.output_bias
        return hidden, logits.squeeze(1)

    def _mask(self, like: Tensor) -> Tensor:
        # Drawn on the CPU, so that it is the same on every device.
        mask = torch.empty(like.shape).bernoulli_(1 - self.dropout, generator=self.generator)
        return mask.to(like) / (1 - self.dropout)
