"""A classifier that takes its number of classes from the data."""

from collections.abc import Callable

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from lightning_al.zoo.classifier import Classifier


class DataClassifier(Classifier):
    """A :class:`Classifier` whose network is made once the data are set up, for as many classes as they have.

    Args:
        net: Number of classes to network, of inputs (B, ...) to logits (B, num_classes). In YAML a class whose first
            argument is that number: ``net: {class_path: ImageBackbone, init_args: {name: resnet18}}``.
        num_classes: Default: the length of the datamodule's ``classes``.
        optimizer: As of :class:`Classifier`.
        scheduler: As of :class:`Classifier`.
        class_accuracies: As of :class:`Classifier`.

    Raises:
        ValueError: In ``configure_model``, if nothing says how many classes there are.

    Example:
        >>> model = DataClassifier(lambda count: nn.Linear(4, count), num_classes=3)
        >>> model.configure_model()
        >>> model(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        num_classes: int | None = None,
        # A lambda, since jsonargparse reads its source.
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        class_accuracies: bool = False,
    ) -> None:
        super().__init__(nn.Identity(), num_classes or 2, optimizer, scheduler, class_accuracies=class_accuracies)
        self.make_net = net
        self.num_classes = num_classes

    def configure_model(self) -> None:
        """Make the network, once."""
        if not isinstance(self.net, nn.Identity):
            return
        if self.num_classes is None:
            classes = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
            if not classes:
                raise ValueError(
                    "Nothing says how many classes there are: the datamodule has no `classes`. Give `num_classes=`."
                )
            self.num_classes = len(classes)
        self.net = self.make_net(self.num_classes)
        self.count_right(self.num_classes)
