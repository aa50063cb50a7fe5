"""What a recipe says of its campaign's folder, read without the classes that it names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def fill_in(dirpath: str, files: Sequence[Any] | None, seed: int) -> str:
    """Return ``dirpath`` with the method's name and the seed in the places kept for them.

    Example:
        >>> fill_in("runs/{method}/{seed}", ["protocol.yaml", "badge.yaml"], 3)
        'runs/badge/3'
    """
    names = [Path(str(file)).stem for file in files or [] if file is not None]  # None: not a file but its text
    if names:
        dirpath = dirpath.replace("{method}", "_".join(names[1:] or names))
    return dirpath.replace("{seed}", str(seed))


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
            raise FileNotFoundError(f"There is no recipe {path}.")
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
    return Path(fill_in(dirpath, files, int(loop.get("seed", 0)) if seed is None else seed))
