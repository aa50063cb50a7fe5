"""What a missing optional package is said by: what needs it, and the extra that brings it. Without torch."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def needs(what: str, package: str, extra: str) -> Iterator[None]:
    """Say, where an import inside fails, which package that is, and the extra that brings it.

    Args:
        what: What cannot be done without.
        package: As people know it.
        extra: Of ``lightning-al``.

    Raises:
        ImportError: If the import fails.

    Example:
        >>> with needs("A picture", "matplotlib", "plot"):
        ...     import no_such_package
        Traceback (most recent call last):
        ImportError: A picture needs matplotlib: `pip install 'lightning-al[plot]'` (No module named 'no_such_package').
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: `pip install 'lightning-al[{extra}]'` ({error}).") from error


def pandas_or(instead: str) -> Any:
    """Return pandas, which readers bring, for a method ``to_frame``.

    Args:
        instead: What does without it.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError(f"`to_frame` needs pandas: `pip install pandas`. `{instead}` does without.") from None
    return pandas
