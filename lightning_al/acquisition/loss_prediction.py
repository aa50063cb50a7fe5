"""Acquisitions for models that learn to predict their loss."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.gradient_norm import EntropyGradNorm
from lightning_al.inference.module_state import flags_kept, modules_of
from lightning_al.training.loss_prediction.mixin import LossPredictionMixin


class LearningLoss(Acquisition):
    r"""Largest predicted loss :math:`\hat\ell(x)` (Yoo & Kweon, CVPR 2019).

    The model learns to predict it in training: ``class Net(LossPredictionMixin, MyModule)``. What is predicted is the
    order of losses, so that scores may be negative and their scale means nothing.

    Args:
        selection: ``"top"``, as published, or ``"kmeans++"``.

    Raises:
        ValueError: If ``selection`` is unknown.
        TypeError: In a loop, before anything trains, if the model is no
            :class:`~lightning_al.training.LossPredictionMixin`.
    """

    requires = frozenset({"outputs", "features"})
    never_negative = False

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def check_model(self, model: pl.LightningModule) -> None:
        """Refuse a model that does not learn to predict its loss.

        Raises:
            TypeError: If it does not.
        """
        _check_learner(self, model)

    def check_fitted(self, model: pl.LightningModule) -> None:
        """Refuse a model that never learnt to predict its loss.

        Raises:
            TypeError: If it cannot.
            ValueError: If it has not.
        """
        if _check_learner(self, model).loss_prediction_module is None:
            raise ValueError(
                f"This {type(model).__name__} has no `loss_prediction` yet, which predicts its loss and is made and "
                "trained in a fit. Give the weights of a model that was fitted (`ckpt_path=`)."
            )

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the predicted loss of each sample, (B,)."""
        learner = _check_learner(self, model)
        return learner.predict_losses(self.task.inputs(batch), self.task.outputs)


class LPLGrad(EntropyGradNorm):
    r"""Largest :math:`\|\nabla_\theta H(p(x))\|` of a model that predicts its loss (Gul et al., 2024, Eq. 5-9).

    The gradient is of the main model's parameters only: those of the loss prediction, which the entropy does not depend
    on, are left out. So the score is that of :class:`~lightning_al.acquisition.EntropyGradNorm`, whose docstring says
    what is known of it; the methods differ in how the model is trained.

    Args:
        norm: ``"tensor_sum"``, the sum over parameter tensors of their L2 norms, which the authors' code computes and
            is therefore what their tables show; or ``"global"``, one L2 norm over all parameters, as the text has it.
        selection: ``"top"``, as published, ``"kmeans++"`` or ``"badge"``.

    Raises:
        ValueError: If an option is unknown.
        TypeError: In a loop, before anything trains, if the model is no
            :class:`~lightning_al.training.LossPredictionMixin`.
    """

    def __init__(self, norm: str = "tensor_sum", selection: str = "top") -> None:
        super().__init__(norm, selection)

    def check_model(self, model: pl.LightningModule) -> None:
        """Refuse a model that does not learn to predict its loss.

        Raises:
            TypeError: If it does not.
        """
        _check_learner(self, model)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the norm of each sample's entropy gradient, (B,)."""
        module = _check_learner(self, model).loss_prediction_module
        with flags_kept(modules_of(model)):
            if module is not None:
                module.requires_grad_(False)
            return super().score_batch(model, batch)


def _check_learner(acquisition: Acquisition, model: pl.LightningModule) -> LossPredictionMixin:
    if not isinstance(model, LossPredictionMixin):
        name, instead = type(model).__name__, ""
        if isinstance(acquisition, LPLGrad):
            instead = f', or use `EntropyGradNorm(norm="{acquisition.norm}")`, the same score without it'
        raise TypeError(
            f"{type(acquisition).__name__} needs a model that learns to predict its loss, and {name} does not. Write "
            f"`class Net(LossPredictionMixin, {name})`, with `from lightning_al.training import LossPredictionMixin`"
            f"{instead}."
        )
    return model
