"""Recipes and methods that a command line names and that are not there: found before the import of torch."""

import argparse
import ast
import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from lightning_al.cli.ending import refuse
from lightning_al.recipe_files import no_recipe
from lightning_al.sweep.plan import PlanError, methods_of


def is_file_name(value: str) -> bool:
    """Whether what is given to ``-c`` names a file, be it there or not: it may be YAML itself, too.

    Example:
        >>> is_file_name("recipes/mine.yaml"), is_file_name("data: parts.yaml")
        (True, False)
    """
    is_a_word = not any(each in value for each in ("\n", "://", ": "))
    return is_a_word and Path(value).suffix in (".yaml", ".yml")


def path_of(file: str) -> Path:
    """Return the path of a file that a command line names, as jsonargparse reads it: ``--config=~/mine.yaml``."""
    return Path(os.path.expanduser(file))  # noqa: PTH111 - `Path.expanduser` ends where there is no such user


def refuse_missing(words: Sequence[str]) -> None:
    """Refuse recipes that are not there, and methods of ``race`` without a recipe or a class.

    Args:
        words: The command line from the command on.

    Raises:
        SystemExit: With all of them.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--methods")
    try:
        options, _ = parser.parse_known_args(words[1:])
    except argparse.ArgumentError:  # which the command's own parser finds too
        return
    files = [path_of(file) for file in options.config if is_file_name(file)]
    findings = [no_recipe(file) for file in files if not file.exists()]
    if words[0] == "race" and options.methods is not None:
        _, recipes = classes_and_recipes(options.methods)
        if recipes:
            methods_of(recipes, files, findings)
    if findings:
        refuse(PlanError(findings))


def classes_and_recipes(methods: str) -> tuple[list[str], str]:
    """Return which of the names of methods are classes of acquisitions, and all others, with commas between.

    Example:
        >>> classes_and_recipes("saal,CoreSet, entropy")
        (['CoreSet'], 'saal,entropy')
    """
    names = [name.strip() for name in methods.split(",")]
    classes = [name for name in names if name in acquisitions()]
    return classes, ",".join(name for name in names if name not in classes)


@functools.cache
def acquisitions() -> frozenset[str]:
    """Return the names of the acquisitions' classes, read off what their room imports, and not by the import."""
    room = importlib.util.find_spec("lightning_al.acquisition")
    assert room is not None and room.origin is not None  # noqa: PT018 - it is part of this package
    tree = ast.parse(Path(room.origin).read_text(encoding="utf-8"))
    imported = (alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    return frozenset(imported) - {"Acquisition"}
