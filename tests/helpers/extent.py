"""How much the tests try: all of it in `make test-slow`, of what is alike a share in `make test`."""

from hypothesis import HealthCheck, settings

everything = False
"""Whether slow tests run too."""


def begin(all_of_it):
    """Say so before any test is read; it holds for property tests that ask for no number of examples as well."""
    global everything
    everything = all_of_it
    settings.register_profile("share", max_examples=share_of(100))
    settings.load_profile("share")


def share_of(count):
    """How many of so many examples, or cases of one kind, are tried: all, or a quarter and three at least."""
    return count if everything else max(count // 4, min(count, 3))


def examples(count):
    """Settings of a property test: the share of ``count`` examples, the same in every run.

    A fixture that replaces something for all of them is meant.
    """
    return settings(
        max_examples=share_of(count),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
