"""What a recipe says of its campaign's folder, read without the classes that it names."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_al.cli.named_files import acquisitions, path_of
from lightning_al.recipe_files import no_recipe
from lightning_al.sweep.plan import ROOMS


def method_of(files: Sequence[Any] | None) -> str | None:
    """Return the name of the method that the files of a recipe are of; None without files.

    A protocol may be several files: a method's begin with the first, after the first of all, that lists an acquisition
    among its callbacks or lies in a folder of methods, as ``recipes/training``. Where there is none, it is the first
    that lists callbacks, as an acquisition of somebody's own; else all after the first, or the only one.

    Args:
        files: In their order.

    Example:
        >>> method_of(["protocol.yaml", "badge.yaml", "sam.yaml"]), method_of(["project.yaml"]), method_of([])
        ('badge_sam', 'project', None)
        >>> method_of(["cifar10.yaml", "low.yaml", "recipes/training/sam.yaml", "recipes/acquisitions/badge.yaml"])
        'sam_badge'
    """
    paths = [path_of(str(file)) for file in files or [] if file is not None]  # None: not a file but its text
    later = paths[1:] or paths
    callbacks = [_callbacks_in(path) for path in later]
    begins = [
        *(i for i, path in enumerate(later) if path.parent.name in ROOMS or acquisitions() & {*callbacks[i]}),
        *(i for i, names in enumerate(callbacks) if names),
        0,
    ]
    return "_".join(path.stem for path in later[begins[0] :]) or None


def _callbacks_in(path: Path) -> list[str]:
    """Return the names of the classes of the callbacks that a file lists."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):  # the parser has read it in a way of its own
        return []
    trainer = recipe.get("trainer") if isinstance(recipe, dict) else None
    found = [trainer[key] for key in ("callbacks", "callbacks+") if key in trainer] if isinstance(trainer, dict) else []
    each = [one for several in found for one in (several if isinstance(several, list) else [several])]
    paths = [one.get("class_path") if isinstance(one, dict) else one for one in each]
    return [str(name).rpartition(".")[2] for name in paths if name is not None]


def fill_in(text: str, method: str | None, seed: int | None) -> str:
    """Return a text with the method's name and the seed in the places kept for them.

    Example:
        >>> fill_in("runs/{method}/{seed}", "badge", 3)
        'runs/badge/3'
    """
    text = text if method is None else text.replace("{method}", method)
    return text if seed is None else text.replace("{seed}", str(seed))


def filled_in(value: Any, method: str | None, seed: int | None) -> Any:
    """Return what a recipe says with :func:`fill_in` done to all texts in it.

    Args:
        value: Lists, dicts and namespaces of any depth.
        method: Its name; None: it stays open.
        seed: The recipe's ``loop.seed``; None: it stays open.

    Example:
        >>> filled_in([{"save_dir": "logs/{method}", "version": 2}, True], "badge", 3)
        [{'save_dir': 'logs/badge', 'version': 2}, True]
    """
    if isinstance(value, str):
        return fill_in(value, method, seed)
    if isinstance(value, list):
        return [filled_in(each, method, seed) for each in value]
    if isinstance(value, (dict, argparse.Namespace)):
        names = value if isinstance(value, dict) else vars(value)
        return type(value)(**{name: filled_in(each, method, seed) for name, each in names.items()})
    return value


def fill_in_trainer(section: Any, seed: int | None) -> None:
    """Fill in the places for method and seed in the ``trainer:`` of a command's options, as in its loggers' folders."""
    section["trainer"] = filled_in(section["trainer"], method_of(section.get("config")), seed)


def listed(callbacks: Any) -> list[Any]:
    """Return the callbacks that a recipe names, of which one alone needs no list.

    Example:
        >>> listed("SAAL"), listed(["SAAL", "EarlyStopping"]), listed(None)
        (['SAAL'], ['SAAL', 'EarlyStopping'], [])
    """
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def config_words(files: Sequence[Path]) -> list[str]:
    """Return the words of a command line that names YAML files, of which later ones go first.

    Example:
        >>> config_words([Path("protocol.yaml"), Path("badge.yaml")])
        ['--config', 'protocol.yaml', '--config', 'badge.yaml']
    """
    return [word for file in files for word in ("--config", str(file))]


def folder_of(files: Sequence[str], *, dirpath: str | None = None, seed: int | None = None) -> Path:
    """Return the folder of the campaign that recipes are of.

    Args:
        files: The recipes; what a later one says goes first.
        dirpath: ``loop.dirpath``, where it is not theirs.
        seed: ``loop.seed``, where it is not theirs.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If one is no YAML, or none names the folder.
    """
    loop: dict[str, Any] = {}
    for file in files:
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(no_recipe(path))
        try:
            recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no YAML: {error}") from None
        section = recipe.get("loop") if isinstance(recipe, dict) else None
        loop |= section if isinstance(section, dict) else {}
    dirpath = loop.get("dirpath") if dirpath is None else dirpath
    if not isinstance(dirpath, str):
        raise ValueError(
            f"{', '.join(map(str, files))}: no `loop.dirpath` says in which folder the campaign is. Give "
            "`--loop.dirpath=FOLDER`, or the folder in place of `-c`."
        )
    return Path(fill_in(dirpath, method_of(files), int(loop.get("seed", 0)) if seed is None else seed))
