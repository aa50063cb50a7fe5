"""CoreGCN and UncertainGCN: a graph network learns what is labelled, and its view of the pool decides."""

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al.checks import Findings, check_count, check_number, check_tensor, needed_generator
from lightning_al.functional.geometry.graph import Graph
from lightning_al.functional.geometry.sphere import full_precision, on_sphere
from lightning_al.functional.selection.k_center import k_center_greedy
from lightning_al.nn.gcn import GCN
from lightning_al.stages import steps as steps_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GCNOptions:
    """The options of :func:`train_gcn` that say how a network is made and trained; its docstring has each.

    Raises:
        ValueError: If an option is out of range.
    """

    steps: int = 200
    hidden: int = 128
    dropout: float = 0.3
    lr: float = 1e-3
    weight_decay: float = 5e-4
    unlabelled_weight: float = 1.2

    def __post_init__(self) -> None:
        with Findings() as findings:
            findings.of(check_count, "steps", self.steps)
            findings.of(check_count, "hidden", self.hidden)
            findings.of(check_number, "dropout", self.dropout, least=0, below=1)
            findings.of(check_number, "lr", self.lr, above=0)
            findings.of(check_number, "unlabelled_weight", self.unlabelled_weight, above=0)
            findings.of(check_number, "weight_decay", self.weight_decay, least=0)


class Nodes(NamedTuple):
    """What a trained network makes of the nodes of its graph, the candidates first and then the labelled samples.

    Attributes:
        hidden: (N + M, hidden), its hidden layer.
        logits: (N + M,), the larger the more it takes a sample for a labelled one.
    """

    hidden: Tensor
    logits: Tensor


def gcn_loss(labelled: Tensor, unlabelled: Tensor, *, weight: float = 1.2) -> Tensor:
    r"""The loss that tells labelled from unlabelled nodes (Caramalau et al., CVPR 2021, Eq. 5).

    .. math:: -\frac{1}{|L|} \sum_{i \in L} \log s_i - \frac{\lambda}{|U|} \sum_{i \in U} \log (1 - s_i), \quad
        s = \mathrm{sigmoid}(z)

    in the form that stays finite where ``s`` rounds to 0 or 1, which the authors' code does not have.

    Args:
        labelled: (M,) logits of labelled nodes, M >= 1.
        unlabelled: (N,) logits of unlabelled nodes, N >= 1.
        weight: λ, that of the unlabelled.

    Returns:
        The loss, ().

    Example:
        >>> import math
        >>> gcn_loss(torch.zeros(2), torch.zeros(3)) / math.log(2)
        tensor(2.2000)
        >>> gcn_loss(torch.tensor([-1000.0]), torch.tensor([1000.0]))
        tensor(2200.)
    """
    check_tensor("labelled", labelled)
    check_tensor("unlabelled", unlabelled)
    return -F.logsigmoid(labelled).mean() - weight * F.logsigmoid(-unlabelled).mean()


@full_precision()
def train_gcn(
    features: Tensor,
    labelled: Tensor,
    *,
    generator: torch.Generator,
    steps: int = 200,
    hidden: int = 128,
    dropout: float = 0.3,
    lr: float = 1e-3,
    weight_decay: float = 5e-4,
    unlabelled_weight: float = 1.2,
) -> Nodes:
    r"""Train a graph network to tell labelled samples from candidates (Caramalau et al., CVPR 2021).

    The nodes are the candidates and the labelled samples, the graph is that of
    :func:`~lightning_al.functional.graph_adjacency`, the network :class:`~lightning_al.nn.GCN`, the loss
    :func:`gcn_loss`. Every step of Adam takes the whole graph. The nodes are then looked at without dropout.

    All in float64, where the features are. Adam gives a hidden unit that hardly any node sets off the same step as all
    others, so that what rounding does to it grows: in float32, features that differ in the seventh digit had logits
    that differ in the second.

    The matrix of the graph is made only for small ones (:class:`~lightning_al.functional.geometry.graph.Graph`).
    With N nodes, a step takes ``4 N d hidden`` operations, hardly more than the network without a graph would; memory
    is that of about ``N (2 d + 6 hidden)`` numbers.

    Args:
        features: (N, d) of the candidates, N >= 1, finite; L2-normalised here.
        labelled: (M, d) of the labelled samples, M >= 1.
        generator: A CPU generator, the only source of randomness: it gives one 63-bit seed, for the weights and then
            for each step's dropout. The global one is left alone.
        steps: Of Adam, at least 1.
        hidden: Width of the hidden layer, at least 1.
        dropout: Probability, at least 0 and below 1.
        lr: Learning rate, above 0.
        weight_decay: As Adam has it (added to the gradient), at least 0.
        unlabelled_weight: λ of the loss, above 0.

    Returns:
        What the network makes of the nodes, float64, on the device of the features.

    Raises:
        ValueError: If an option is out of range, there is no ``generator``, no sample is labelled or a candidate,
            features have another shape or are not finite, or the training diverges.
    """
    options = GCNOptions(
        steps=steps,
        hidden=hidden,
        dropout=dropout,
        lr=lr,
        weight_decay=weight_decay,
        unlabelled_weight=unlabelled_weight,
    )
    generator = needed_generator(generator, "train_gcn", "trains a network from a random start")
    _check_nodes(features, labelled)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
        labelled_rows = on_sphere(labelled, "labelled", torch.float64).rows
        rows = torch.cat([on_sphere(features, dtype=torch.float64).rows, labelled_rows]).to(features.device)
        graph = Graph(rows)
        aggregated = graph.aggregated()
        draws = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, (), generator=generator)))
        made = GCN(aggregated.shape[1], hidden=options.hidden, dropout=options.dropout, generator=draws)
        network = made.to(rows)
        first = torch.zeros(())
        optimizer = torch.optim.Adam(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        for step in steps_of(range(options.steps)):
            _, logits = network(aggregated, graph.product)
            loss = gcn_loss(logits[len(features) :], logits[: len(features)], weight=options.unlabelled_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            first = loss.detach() if step == 0 else first
        log.info("A graph of %d samples: loss %.4g to %.4g in %d steps.", len(rows), first, loss, steps)
    nodes = Nodes(*network.eval()(aggregated, graph.product))
    if not bool(torch.isfinite(nodes.logits).all()):
        raise ValueError(f"The graph network diverged in {steps} steps at `lr={lr}`: take a smaller one.")
    return nodes


def _check_nodes(features: Tensor, labelled: Tensor) -> None:
    with Findings() as findings:
        findings.of(check_tensor, "features", features)
        findings.of(check_tensor, "labelled", labelled)
    if not len(features) or not len(labelled):
        raise ValueError(
            "The network learns to tell labelled samples from candidates and needs some of each, got "
            f"{len(labelled)} and {len(features)}."
        )
    if features.ndim == 2 and labelled.shape[1:] != features.shape[1:]:
        raise ValueError(f"`labelled` must have shape (M, {features.shape[1]}), got {tuple(labelled.shape)}.")


def uncertain_gcn(
    features: Tensor, *, labelled: Tensor, generator: torch.Generator, margin: float = 0.1, **training: Any
) -> Tensor:
    r"""UncertainGCN's score :math:`-|s - s_\mathrm{margin}|`, larger where the network is less sure.

    Caramalau et al., CVPR 2021, Eq. 6; ``s`` is the network's probability that the sample is a labelled one.

    Args:
        features: (N, d) of the candidates.
        labelled: (M, d) of the labelled samples, M >= 1.
        generator: As in :func:`train_gcn`.
        margin: :math:`s_\mathrm{margin}`, from 0, the most certainly unlabelled, to 1.
        **training: How the network is trained, by the names of :func:`train_gcn`'s options.

    Returns:
        (N,), at most 0, on the CPU.

    Raises:
        ValueError: If ``margin`` is out of range, or as :func:`train_gcn` does.

    Example:
        >>> candidates, labelled = torch.eye(3), torch.tensor([[0.0, 0.0, 1.0]])
        >>> scores = uncertain_gcn(candidates, labelled=labelled, generator=torch.Generator().manual_seed(0), margin=0)
        >>> int(scores.argmin())  # the one like the labelled
        2
    """
    check_margin(margin)
    logits = train_gcn(features, labelled, generator=generator, **training).logits
    return -(logits[: len(features)].sigmoid() - margin).abs().cpu()


def core_gcn(features: Tensor, k: int, *, labelled: Tensor, generator: torch.Generator, **training: Any) -> Tensor:
    """CoreGCN: greedy k-center on what the network makes of the samples (Caramalau et al., CVPR 2021).

    That is its hidden layer and its logit, side by side, as in the authors' code. See
    :func:`~lightning_al.functional.k_center_greedy` for ties, and for what is done once all coincides with a centre.

    Args:
        features: (N, d) of the candidates.
        k: How many, 0 to N.
        labelled: (M, d) of the labelled samples, the first centres, M >= 1.
        generator: As in :func:`train_gcn`.
        **training: How the network is trained, by the names of :func:`train_gcn`'s options.

    Returns:
        LongTensor (k,) of distinct positions in the order of the picks, on the CPU.

    Raises:
        ValueError: If ``k`` is out of range, or as :func:`train_gcn` does.

    Example:
        >>> candidates, labelled = torch.eye(3), torch.tensor([[0.0, 0.0, 1.0]])
        >>> core_gcn(candidates, 3, labelled=labelled, generator=torch.Generator().manual_seed(0))[2]  # it coincides
        tensor(2)
    """
    hidden, logits = train_gcn(features, labelled, generator=generator, **training)
    nodes = torch.cat([hidden, logits.unsqueeze(1)], 1)
    return k_center_greedy(nodes[: len(features)], k, labelled=nodes[len(features) :])


def check_margin(margin: float) -> None:
    """Refuse a margin that is no probability."""
    check_number("margin", margin, least=0, most=1)
