"""Rows of a model's parameters, by name: what one call of a layer may use of them."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class ParameterRows(NamedTuple):
    """Some rows of a parameter, or all of them.

    Attributes:
        name: Of the parameter, in the model; in an attention layer, until it is looked up, that of its attribute.
        start: The first row; None for all rows.
        stop: The row after the last; None: to the end.
    """

    name: str
    start: int | None = None
    stop: int | None = None

    def of(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return these rows."""
        parameter = parameters[self.name]
        return parameter if self.start is None else parameter[self.start : self.stop]


Names = dict[str, ParameterRows]
"""What a layer's own parameter names stand for in the model."""
