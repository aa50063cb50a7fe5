"""Every option of every acquisition has a test: one without fails here."""

import importlib
import inspect

import pytest

from lightning_al import acquisition

TESTS = {
    "Acquisition": {"selection": "test_base.test_selection"},
    "Random": {},
    "Entropy": {"selection": "test_base.test_selection"},
    "LeastConfidence": {"selection": "test_base.test_selection"},
    "Margin": {"selection": "test_base.test_selection"},
    "EntropyGradNorm": {
        "norm": "test_gradient_norm.test_norm",
        "selection": "test_base.test_selection",
    },
    "ExpectedGradNorm": {
        "loss": "test_gradient_norm.test_loss",
        "norm": "test_gradient_norm.test_norm",
        "selection": "test_base.test_selection",
    },
    "SAAL": {
        "rho": "test_saal.test_rho",
        "perturbation": "test_saal.test_perturbation",
        "p": "test_saal.test_p",
        "group_size": "test_saal.test_group_size",
        "score": "test_saal.test_score",
        "lowest": "test_saal.test_lowest",
        "labels": "test_saal.test_labels",
        "selection": "test_base.test_selection",
    },
}


@pytest.mark.parametrize("name", acquisition.__all__)
def test_every_option_has_a_test(name):
    options = [p for p in inspect.signature(getattr(acquisition, name)).parameters if p != "self"]
    assert sorted(TESTS[name]) == sorted(options), f"write a test for each option of {name}, and name it in TESTS"


def test_the_tests_named_here_exist():
    for options in TESTS.values():
        for where in options.values():
            module, function = where.split(".")
            assert callable(getattr(importlib.import_module(f"{__package__}.{module}"), function))


@pytest.mark.parametrize("name", acquisition.__all__)
def test_options_are_kept_under_their_names(name):
    """So that a logger or the ledger can say with what a campaign ran."""
    made = getattr(acquisition, name)()
    for option, parameter in inspect.signature(type(made)).parameters.items():
        assert getattr(made, option) == parameter.default
