"""What ``--help`` lists is what a command takes."""

import argparse

import pytest

from lightning_al.cli.ask import AskCLI
from lightning_al.cli.commands import _parser
from lightning_al.cli.features import FeaturesCLI
from lightning_al.cli.race import RaceCLI
from lightning_al.cli.reproduce import reproduce_parser
from lightning_al.cli.run import ActiveParser
from lightning_al.cli.score import ScoreCLI
from lightning_al.cli.sweep import sweep_parser
from lightning_al.cli.tell import tell_parser

READ_BY_LIGHTNING = {"ask": AskCLI, "features": FeaturesCLI, "race": RaceCLI, "score": ScoreCLI}
IN_THE_FILE_OF_A_CAMPAIGN = {"--resume"}  # taken by `ask` and `race` too, which go on anyway


def helped():
    """The commands whose help is not LightningCLI's, by name."""
    [commands] = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    own = {"tell": tell_parser(), "sweep": sweep_parser(), "reproduce": reproduce_parser()}
    return {**{name: parser for name, parser in commands.choices.items() if name != "run"}, **own}


def options(parser):
    """Of a command alone, without sections of the recipe."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    names = {name for action in actions for name in action.option_strings if "." not in name}
    return names - {"-h", "--help", "-c", "--config", "--print_shtab"}


@pytest.mark.parametrize("name", READ_BY_LIGHTNING)
def test_help_lists_the_options_that_a_lightning_cli_reads(name):
    cli, parser = READ_BY_LIGHTNING[name], ActiveParser()
    cli.add_arguments_to_parser(object.__new__(cli), parser)
    taken = options(parser) - {"--loop"}
    if name in ("ask", "race"):
        taken -= IN_THE_FILE_OF_A_CAMPAIGN
    assert options(helped()[name]) == taken


@pytest.mark.parametrize("name", helped())
def test_help_says_what_each_option_is(name):
    parser = helped()[name]
    assert [action.dest for action in parser._actions if not action.help] == []
    assert set(options(parser)) <= set(parser.format_help().replace(",", " ").replace("]", " ").split())
