"""Command lines that have options of the recipe among their own."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from lightning_al.cli.refusals import Option, in_a_line

_SECTIONS = ("model", "data", "trainer", "loop", "optimizer", "lr_scheduler", "seed_everything", "config", "resume")


class CommandParser(argparse.ArgumentParser):
    """argparse's parser, which says in a line what is wrong, and what was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is unknown to a command here, where its own options are known."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """End with the message."""
        options = {
            action.dest: Option(max(action.option_strings, key=len))
            for action in self._actions
            if action.option_strings
        }
        self.exit(2, f"error: {in_a_line(message, options)}\n")


def read_beside_recipe(
    parser: argparse.ArgumentParser, args: Sequence[str], own: Sequence[str] = ()
) -> tuple[argparse.Namespace, list[str]]:
    """Read a command line; return what the command's parser makes of it, and the words that are for the recipe.

    As for ``lightning-al run``, a value follows its option after ``=`` or as the next word.

    Args:
        parser: Of the command.
        args: The words.
        own: Options that look like the recipe's, and are the command's.

    Raises:
        SystemExit: If the parser refuses what is left to it.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("files", nargs="+")
        >>> read_beside_recipe(parser, ["--data.root", "here", "labels.csv", "--loop.seed=1"])
        (Namespace(files=['labels.csv']), ['--data.root', 'here', '--loop.seed=1'])
    """
    for_parser: list[str] = []
    for_recipe: list[str] = []
    takes_value = False
    for word in args:
        name = word.partition("=")[0]
        if word.startswith("--"):
            is_of_recipe = re.split("[.+]", name[2:])[0] in _SECTIONS and name not in own
            takes_value = is_of_recipe and name == word
        else:
            is_of_recipe, takes_value = takes_value, False
        (for_recipe if is_of_recipe else for_parser).append(word)
    return parser.parse_args(for_parser), for_recipe
