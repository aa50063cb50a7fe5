"""What is raised where the layers' rules cannot go on, so that a slower way is taken."""


class NoRule(Exception):
    """The layers' rules do not cover what the model does."""


class UsedElsewhere(NoRule):
    """Parameters that were taken for layers' own have a part in something else.

    Args:
        what: The operation.
        names: Of the parameters.
    """

    def __init__(self, what: str, names: frozenset[str]) -> None:
        super().__init__(f"`{what}` of {', '.join(sorted(names))} outside of a layer's call")
        self.names = names


class NothingToCompare(Exception):
    """The first samples cannot show whether a way to scores gives what the plain loop gives."""


class Differs(NoRule):
    """Later scores are not those of the plain loop, so that a slower way is taken, for all samples of the call."""
