"""What recipes say, read and built by one and the same parser: to make that takes longer than to read files."""

import sys

import pytest

from tests.helpers.recipes import arguments, command_line


@pytest.fixture(scope="session")
def parser():
    pytest.importorskip("jsonargparse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lightning-al"])  # LightningCLI warns about pytest's own
        return command_line("quickstart").parser


@pytest.fixture(scope="session")
def build(parser):
    """A run's configuration and what is made of it."""

    def build(*files_and_flags):
        config = parser.parse_args(["run", *arguments(*files_and_flags)])
        made = parser.instantiate(config) if hasattr(parser, "instantiate") else parser.instantiate_classes(config)
        return config["run"].as_dict(), made["run"]

    return build
