"""A mixin that trains a model together with a small network that predicts its loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.calling import Forward
from lightning_al.nn.loss_prediction import LossPrediction
from lightning_al.training.loss_prediction.example import example_inputs
from lightning_al.training.loss_prediction.features import find_features, pooled_outputs, predict_losses
from lightning_al.training.loss_prediction.options import LossPredictionOptions
from lightning_al.training.loss_prediction.own_group import check_trained, hold_rate, join_optimizer
from lightning_al.training.loss_prediction.total import detaches, main_loss, with_prediction
from lightning_al.training.losses.image_losses import ImageLosses
from lightning_al.training.losses.sample_losses import SampleLosses
from lightning_al.training.mixing_in import (
    around,
    check_order,
    check_wrapped,
    choose_options,
    fitting_trainer,
    training_trainer,
    wrap_hooks,
)
from lightning_al.training.sam.base import SAMBase

_Base: type = LightningModule if TYPE_CHECKING else object
_NAME = "loss_prediction"


@dataclass
class _PresentFit:
    """What is known of the module in one fit."""

    rate: float | None = None
    """The learning rate that the module's group was made with."""
    trained: bool = False
    """Whether the module's parameters were seen in an optimizer of this fit."""


@dataclass
class _LossPredictionState:
    """The options of a model, and its present fit."""

    options: LossPredictionOptions
    fit: _PresentFit = field(default_factory=_PresentFit)

    def begin(self, rate: float | None) -> None:
        """Begin a fit whose optimizer was made with this learning rate for the parameters."""
        self.fit = _PresentFit(rate)


class LossPredictionMixin(_Base):
    r"""Trains a LightningModule together with a network that predicts its loss: ``class Net(LossPredictionMixin, M)``.

    The training half of learning loss (Yoo & Kweon, CVPR 2019) and of LPLgrad (Gul et al., 2024); the query half is
    :class:`~lightning_al.acquisition.LearningLoss` or :class:`~lightning_al.acquisition.LPLGrad`. ``M`` stays as
    written. What its ``training_step`` returns (the loss :math:`L`, or a dict with it) becomes
    :math:`L + \lambda\, L_\mathrm{pred}(\hat\ell, \ell)`, with the losses :math:`\hat\ell_i` that
    :class:`~lightning_al.nn.LossPrediction` predicts from feature maps, the real ones :math:`\ell_i` as constants, and
    :func:`~lightning_al.functional.loss_prediction_loss`. From some epoch on the maps are detached, so that only the
    module goes on learning from it.

    The real losses are caught where ``training_step`` calls one of torch's loss functions, directly or as
    ``nn.CrossEntropyLoss`` and the like; of torchvision's detectors, those of each image
    (:class:`~lightning_al.training.losses.image_losses.ImageLosses`). For a loss written by hand, override
    :meth:`losses_per_sample`.

    The module is ``self.loss_prediction``. It is made once, before optimizers are, from one run of the model on two
    samples (in a loop on samples of the pool, else on ``example_input_array`` or the first entry of a training batch),
    or from the weights that are loaded. A module that you make yourself under this name, in ``__init__`` or
    ``configure_model``, is taken as it is. Its parameters are the last group of the first optimizer that
    ``configure_optimizers`` makes. Options that are lists over groups, in that optimizer's schedules, count this one.

    With :class:`SAMMixin` or :class:`AutoSAMMixin`, in any order, both passes have both losses, and the module's
    weights take part in the perturbation. Every option may also be a class attribute; a keyword that ``M``'s own
    ``__init__`` takes goes to ``M``.

    On several processes, pairs are made within each one's batch. Compiled layers hide what is inside of them: name the
    compiled module itself, or layers outside of it.

    Where this differs: the authors pair even batches only, and keep a second optimizer with its own schedule for the
    module. The LPLgrad paper prints another loss and does not mention detaching; its code pairs and detaches, and never
    steps the module's schedule: ``loss_lr=0.1, loss_weight_decay=5e-4, loss_scheduled=False``.

    Args:
        *args: Go to the module's own ``__init__``.
        loss_layers: Names of the layers whose outputs the loss is predicted from, (B, C, ...) or (B, T, C); as
            ``["net.layer1", "net.layer2"]``. Default: the last output of each of the last four resolutions, which are
            ``layer1`` to ``layer4`` of a ResNet. They are averaged over positions, without those that
            are padding where a module of the model is told of it, by a mask (B, T) or by lengths (B,), see
            :class:`~lightning_al.inference.padding.Padding`. Where nothing is, predictions would depend on what else is
            in the batch: a loop refuses that before it trains; name layers after the model's own pooling.
        loss_weight: :math:`\lambda`. Default 1.
        loss_margin: Margin of the comparison. Default 1.
        loss_variant: ``"pairs"`` (default), or ``"paper"``, the one printed in the LPLgrad paper (Eq. 2-3).
        loss_width: Outputs of the module's linear layers. Default 128.
        loss_detach_after: Maps are detached in epochs whose index is above the whole part of this share of the epochs.
            Default 0.6 (of 200 epochs, counted from 0: from 121 on). 1: never.
        loss_lr: Learning rate of the module's group. Default: the optimizer's.
        loss_weight_decay: Weight decay of the module's group. Default: the optimizer's.
        loss_scheduled: Whether schedules change the learning rate of the module's group. Default ``True``. If
            not, it stays at ``loss_lr``, or the one that the optimizer was made with, whatever a schedule begins with.
        **kwargs: Go to the module's own ``__init__``.

    Raises:
        TypeError: If the module stands before the mixin in the class statement.
        ValueError: If an option is out of range; when the module is made, if a layer does not exist or does not run.

    Example:
        >>> from lightning_al.zoo import Classifier, SmallCNN
        >>> class Net(LossPredictionMixin, Classifier):
        ...     loss_width = 16
        >>> model = Net(net=SmallCNN(width=4), num_classes=10, loss_weight=0.5)
        >>> images = torch.zeros(2, 1, 12, 12)
        >>> model.predict_losses(images).shape
        torch.Size([2])
        >>> model.loss_prediction.layers
        ['net.features.2', 'net.features.6', 'net.features.10']
    """

    def __init__(
        self,
        *args: Any,
        loss_layers: Sequence[str] | None = None,
        loss_weight: float | None = None,
        loss_margin: float | None = None,
        loss_variant: Literal["pairs", "paper"] | None = None,
        loss_width: int | None = None,
        loss_detach_after: float | None = None,
        loss_lr: float | None = None,
        loss_weight_decay: float | None = None,
        loss_scheduled: bool | None = None,
        **kwargs: Any,
    ) -> None:
        local = locals()
        kwargs.update(self._loss_prediction_configure({f.name: local[f.name] for f in fields(LossPredictionOptions)}))
        super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Before other mixins wrap the hooks, so that SAM's two passes are around this.
        if issubclass(cls, LightningModule):
            check_order(cls, LossPredictionMixin)
            wrap_hooks(cls, LossPredictionMixin)
            if "configure_model" in vars(cls):  # which Lightning calls only where it sees that a class has its own
                vars(cls)["configure_model"].__dict__.pop("__wrapped__", None)
        super().__init_subclass__(**kwargs)

    # ---- what the user may call or override

    @property
    def loss_prediction_module(self) -> LossPrediction | None:
        """The module, ``self.loss_prediction``, once it is made."""
        module = getattr(self, _NAME, None)
        if module is not None and not isinstance(module, LossPrediction):
            raise TypeError(
                f"{type(self).__name__}.{_NAME} is a {type(module).__name__}, and the mixin keeps its "
                "`lightning_al.nn.LossPrediction` there. Rename yours."
            )
        return module

    def losses_per_sample(self, caught: Tensor | None, output: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss of each sample in a training batch, (B,). Override it where the loss is written by hand.

        Args:
            caught: What torch's loss functions, called in ``training_step``, gave for each sample; ``None`` where none
                of them counts in the loss.
            output: What ``training_step`` returned. A dict may have come with anything, such as the losses.
            *args: What ``training_step`` was called with: the batch first.
            **kwargs: The same by keyword.

        Raises:
            MisconfigurationException: If none were caught.
        """
        if caught is None:
            raise MisconfigurationException(
                f"{type(self).__name__}.training_step calls no loss function of torch that counts in the loss it "
                "returns, so the loss of each sample is not known. Override `losses_per_sample(self, caught, output, "
                'batch, batch_idx)`; it may take them out of the dict that training_step returns: `output["losses"]`.'
            )
        return caught

    def predict_losses(self, inputs: Any, forward: Forward | None = None) -> Tensor:
        """Return the predicted loss of each sample, (B,), in ``eval()``; make the module first where there is none.

        Args:
            inputs: What the model is called with, samples first.
            forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.

        Raises:
            ValueError: If there is no module yet, and a layer does not exist, does not run, or gives no feature map.
        """
        if self.loss_prediction_module is None:
            self._loss_prediction_make(inputs, forward)
        return predict_losses(self, self._loss_prediction_made(), inputs, forward)

    def on_first_inputs(self, inputs: Any, forward: Forward) -> None:
        """Make the module, and see that it works. The loop calls it before the first fit, on samples of the pool.

        Any model may have this hook, for what it makes of the data that it is to see; it must then be able to load the
        weights of what was made.
        """
        self.predict_losses(inputs, forward)

    # ---- options and the module

    def _loss_prediction_configure(self, given: dict[str, Any]) -> dict[str, Any]:
        """Resolve the options, and return the given keywords that belong to the user's own ``__init__``."""
        options, theirs = choose_options(self, LossPredictionMixin, LossPredictionOptions, given)
        self._loss_prediction_state = _LossPredictionState(options)
        return theirs

    @property
    def _loss_prediction(self) -> _LossPredictionState:
        if "_loss_prediction_state" not in self.__dict__:  # an `__init__` may go past the mixin's
            self._loss_prediction_configure({})
        return self._loss_prediction_state

    def _loss_prediction_make(self, inputs: Any, forward: Forward | None) -> None:
        options = self._loss_prediction.options
        features = find_features(self, inputs, forward, options.loss_layers)
        example = features.example
        # Parameters made in a predict pass would be of no use to training; others' draws must not change.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]), torch.device("cpu"):
            module = LossPrediction(features.maps, features.sequences, width=options.loss_width)
            module.to(example.device, example.dtype)
        setattr(self, _NAME, module)

    def _loss_prediction_made(self) -> LossPrediction:
        module = self.loss_prediction_module
        if module is None:
            raise RuntimeError(
                f"{type(self).__name__} has no `{_NAME}` yet, which `configure_model` makes in a fit. Call "
                "`predict_losses(inputs)` once before."
            )
        return module

    def _loss_prediction_parameters(self) -> dict[str, nn.Parameter]:
        return {f"{_NAME}.{name}": p for name, p in self._loss_prediction_made().named_parameters()}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        inside = f"{prefix}{_NAME}."
        weights = {name.removeprefix(inside): value for name, value in state_dict.items() if name.startswith(inside)}
        if weights and self.loss_prediction_module is None:
            with torch.random.fork_rng(devices=[]):
                setattr(self, _NAME, LossPrediction.like(weights).to(self.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    # ---- hooks: each runs around the user's own, `call`

    @around("configure_callbacks")
    def _loss_prediction_before_fit(self, call: Callable[..., Any]) -> Any:
        """The first hook of a fit: refuse what would train wrongly, and be there when the optimizer is made."""
        trainer, state = fitting_trainer(self), self._loss_prediction
        if trainer is not None:
            self._loss_prediction_check_fit(trainer)
            group = {"lr": state.options.loss_lr, "weight_decay": state.options.loss_weight_decay}
            options = {name: value for name, value in group.items() if value is not None}
            join_optimizer(self, self._loss_prediction_parameters, options, state.begin)
        return call()

    def _loss_prediction_check_fit(self, trainer: Trainer) -> None:
        name, options = type(self).__name__, self._loss_prediction.options
        if not self.automatic_optimization and not isinstance(self, SAMBase):
            raise MisconfigurationException(
                f"{name} drives its optimizer itself (`automatic_optimization = False`), so a loss added to what its "
                "training_step returns would train nothing. Use automatic optimization, or SAMMixin."
            )
        check_wrapped(self, LossPredictionMixin, ["training_step"])
        if options.loss_detach_after < 1 and (trainer.max_epochs is None or trainer.max_epochs < 0):
            raise MisconfigurationException(
                f"Features are detached after a share of the epochs (loss_detach_after={options.loss_detach_after}), "
                f"and Trainer(max_epochs={trainer.max_epochs}) does not say how many there are. Set `max_epochs`, "
                f"beside `max_steps` if need be, or `{name}(loss_detach_after=1.0)`, which never detaches."
            )

    @around("configure_model")
    def _loss_prediction_in_configure_model(self, call: Callable[..., Any]) -> None:
        """Make the module where there is none yet, once the model has its layers."""
        call()
        trainer = fitting_trainer(self)
        if trainer is None or self.loss_prediction_module is not None:
            return
        if isinstance(trainer.strategy, (FSDPStrategy, ModelParallelStrategy)):
            raise MisconfigurationException(
                f"{type(trainer.strategy).__name__} shards what `configure_model` prepares: make `self.loss_prediction "
                "= lightning_al.nn.LossPrediction(...)` there, and shard it with the rest."
            )
        try:
            with draws_undone():
                self._loss_prediction_make(*example_inputs(self, trainer))
        except (ValueError, MisconfigurationException):
            raise
        except Exception as error:
            raise MisconfigurationException(
                f"{type(self).__name__} could not be run once to find its feature maps ({error}). Set "
                "`self.example_input_array` to what `forward` takes, or make `self.loss_prediction` yourself."
            ) from error

    @around("training_step")
    def _loss_prediction_in_training_step(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Add the loss of the predicted losses to the loss of a training batch."""
        trainer, state = training_trainer(self), self._loss_prediction
        if trainer is None:
            return call(*args, **kwargs)
        module, options = self._loss_prediction_made(), state.options
        if not state.fit.trained:
            check_trained(self, module, trainer.optimizers)
            state.fit.trained = True
        if not options.loss_scheduled:
            hold_rate(trainer.optimizers, module, state.fit.rate)
        with pooled_outputs(self, module) as features, SampleLosses() as watched, ImageLosses(self) as of_images:
            output = call(*args, **kwargs)
        loss = main_loss(output, type(self).__name__)
        caught = of_images.of(loss)
        losses = self.losses_per_sample(watched.of(loss) if caught is None else caught, output, *args, **kwargs)
        maps = features()
        if detaches(trainer, options.loss_detach_after):
            maps = {name: pooled.detach() for name, pooled in maps.items()}
        return with_prediction(output, loss, losses=losses, predicted=module(maps), options=options)
