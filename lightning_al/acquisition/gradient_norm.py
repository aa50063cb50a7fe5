"""Gradient-norm acquisitions."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import Findings, check_choice
from lightning_al.functional.scores.gradient_norm import NORMS, check_gradient_norm
from lightning_al.inference.calling import Forward


class EntropyGradNorm(Acquisition):
    r"""Largest :math:`\|\nabla_\theta H(p(x))\|` (Wang et al., AAAI 2022; LPLgrad 2024, Eq. 5-9).

    The norm is 0 at one-hot predictions, and also at uniform ones and at exact two-way ties, so this does not pick
    the most undecided samples; :class:`ExpectedGradNorm` does not have this.

    Args:
        norm: ``"global"``, one L2 norm over all parameters (the papers' text), or ``"tensor_sum"``, the sum over
            parameter tensors (both papers' code; what reproduction recipes use).
        selection: ``"top"``, ``"kmeans++"``, or ``"badge"``, which draws by the gradients of the last layer, each made
            longer by its sample's score; see :class:`Acquisition`.

    Raises:
        ValueError: If an option is unknown.
    """

    requires = frozenset({"logits", "gradients"})

    def __init__(self, norm: str = "global", selection: str = "top") -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            findings.of(check_gradient_norm, "entropy", norm)
        self.norm = norm

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the norm of each sample's entropy gradient, (B,)."""
        return F_al.gradient_norm(
            model,
            self.task.held(model, self.task.inputs(batch)),
            loss=self.task.entropy,
            norm=self.norm,
            forward=self.task.logits,
        )


class ExpectedGradNorm(Acquisition):
    r"""Largest expected gradient length :math:`\sum_c p_c \|\nabla_\theta \ell(x, c)\|`.

    Wang et al. (AAAI 2022, Eq. 6) publish :math:`\|\nabla_\theta \sum_c p_c \ell(x, c)\|` under this name. Under
    cross-entropy that sum is the entropy, so the published score is *identical* to :class:`EntropyGradNorm`
    (``loss="expected_loss"``). The default, ``"expected_norm"``, is the quantity the name promises (Settles 2008).

    Of samples of several decisions it is the expectation over their labellings: all of them where they are at most 256
    (up to eight yes-or-no labels), else 64 drawn from p; see :func:`lightning_al.functional.gradient_norm`. That takes
    as many backward passes: for dense outputs such as segmentation, :class:`EntropyGradNorm` takes one. There
    ``"expected_loss"`` is refused: the paper calls its sum over all label maps infeasible (App. A.4).

    Args:
        loss: ``"expected_norm"`` or ``"expected_loss"``.
        norm: ``"global"`` or ``"tensor_sum"``, see :class:`EntropyGradNorm`.
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``, see :class:`EntropyGradNorm`.

    Raises:
        ValueError: If an option is unknown.
    """

    requires = frozenset({"logits", "gradients"})

    def __init__(self, loss: str = "expected_norm", norm: str = "global", selection: str = "top") -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            findings.of(check_choice, "loss", loss, ("expected_norm", "expected_loss"))
            findings.of(check_choice, "norm", norm, NORMS)
        self.loss = loss
        if loss == "expected_loss":
            self.requires |= {"labellings"}
        self.norm = norm

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the expected gradient length of each sample, (B,)."""

        def norms(forward: Forward, inputs: Any) -> Tensor:
            reduce = self.task.reduce
            return F_al.gradient_norm(model, inputs, loss=self.loss, norm=self.norm, reduce=reduce, forward=forward)

        return self.task.score_of_several(model, self.task.inputs(batch), norms)
