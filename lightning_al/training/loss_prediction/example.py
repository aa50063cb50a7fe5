"""Inputs on which a model can be run once, before it is trained."""

from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al import _compat
from lightning_al.inference.calling import Forward


def example_inputs(model: LightningModule, trainer: Trainer) -> tuple[Any, Forward | None]:
    """Return inputs of the model and how it takes them: its ``example_input_array``, or what is in a training batch.

    Raises:
        MisconfigurationException: If a training batch does not say which of its entries the model takes.
    """
    example = model.example_input_array
    if example is None:
        batch = _compat.first_samples(trainer)
        if not isinstance(batch, (tuple, list)) or not batch:
            raise MisconfigurationException(
                f"What is in a training batch ({type(batch).__name__}) goes into {type(model).__name__}.forward? Set "
                "`self.example_input_array`, or run a loop, which has a `task=`."
            )
        return like_weights(model, batch[0]), None
    return like_weights(model, example), _called_with


def _called_with(model: Any, inputs: Any) -> Any:
    """Call the model as Lightning calls it with its ``example_input_array``."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def like_weights(model: LightningModule, inputs: Any) -> Any:
    """Move inputs to the model's device, and floats to its precision: the Trainer has converted neither yet."""
    # Not `model.device`, which says where the module was sent: what was made since may be elsewhere.
    weights = [p for p in model.parameters() if p.is_floating_point()]

    def convert(t: Tensor) -> Tensor:
        if not weights:
            return t.to(model.device)
        return t.to(weights[0]) if t.is_floating_point() else t.to(weights[0].device)

    return pytree.tree_map_only(Tensor, convert, inputs)
