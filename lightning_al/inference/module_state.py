"""What a module makes of itself before and while it is fitted, and has to be put back for the next time."""

from torch import nn

Flags = dict[str, bool]


def flags_of(model: nn.Module) -> tuple[Flags, Flags]:
    """Return which parameters are trained, and which modules are in training mode, by name."""
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    return trained, {name: module.training for name, module in model.named_modules()}


def set_flags(model: nn.Module, flags: tuple[Flags, Flags]) -> None:
    """Put back what :func:`flags_of` returned; parameters and modules that came since are left alone."""
    trained, training = flags
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained.get(name, parameter.requires_grad))
    for name, module in model.named_modules():
        module.training = training.get(name, module.training)
