"""What optimizers gathered step by step, by the names of the parameters."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_al.storage.weights import as_pieces, plain_name, whole_copy

OptimizerState = dict[str, dict[str, Any]]
"""What an optimizer gathered for each parameter, by its name in the model: momentum, step counts and the like."""


def gathered_by(optimizer: Optimizer, model: nn.Module) -> OptimizerState:
    """Return a copy of what an optimizer gathered, whole and on the CPU. Every process must call this."""
    names = {id(p): plain_name(name) for name, p in model.named_parameters()}
    state = whole_copy(optimizer.state_dict())["state"]
    return {
        names[id(p)]: state[position]
        for position, p in enumerate(_parameters(optimizer))
        if position in state and id(p) in names
    }


def give_gathered(optimizer: Optimizer, state: OptimizerState, model: nn.Module) -> None:
    """Give an optimizer what another one gathered, for those of its parameters that it has nothing of itself.

    Its learning rate and other options stay its own. Parameters that join it later can be given theirs then.
    """
    names = {id(p): plain_name(name) for name, p in model.named_parameters()}
    of_optimizer = optimizer.state_dict()
    own = of_optimizer["state"]
    parameters = dict(enumerate(_parameters(optimizer)))
    if "param_groups" in state:  # as campaigns of before kept it, by position
        by_position: dict[Any, Any] = state["state"]
        state = {names[id(p)]: by_position[i] for i, p in parameters.items() if i in by_position}
    state = {plain_name(name): gathered for name, gathered in state.items()}
    given = {
        position: copy.deepcopy(state[names[id(p)]])
        for position, p in parameters.items()
        if position not in own and names.get(id(p)) in state
    }
    if not given:
        return
    optimizer.load_state_dict({**of_optimizer, "state": {**own, **given}})
    for position in given:
        parameter = parameters[position]
        gathered = optimizer.state[parameter]
        for name, value in gathered.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                gathered[name] = as_pieces(value, parameter)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the parameters in the order in which ``state_dict`` counts them."""
    return [p for group in optimizer.param_groups for p in group["params"]]
