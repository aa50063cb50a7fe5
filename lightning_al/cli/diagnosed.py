"""What ``lightning-al diagnose`` is told to look at: campaigns, rounds and files of projects; without torch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lightning_al.campaign.events import has_ledger
from lightning_al.campaign.saved import CONFIG
from lightning_al.recipe_files import no_recipe
from lightning_al.report.curves import method_of
from lightning_al.words import cut


def names_of(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the campaigns' folders by short names that tell them apart: the parts of their paths that differ.

    Raises:
        FileNotFoundError: If there is no campaign in one.
        ValueError: If one is given twice.

    Example:
        >>> _short([Path("runs/saal/seed_0"), Path("runs/badge/seed_0")]), _short([Path("runs/saal/seed_0")])
        (['saal', 'badge'], ['saal'])
    """
    for folder in folders:
        if not has_ledger(folder):
            below = sorted({str(path.parent) for path in folder.rglob("ledger") if has_ledger(path.parent)})
            found = f" There are some below it: {cut(', '.join(below), 200)}." if below else ""
            raise FileNotFoundError(f"There is no campaign in {folder} (no `ledger/` folder with events).{found}")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"A folder is given twice: {', '.join(map(str, folders))}.")
    return dict(zip(_short(folders), folders, strict=True))


def _short(folders: Sequence[Path]) -> list[str]:
    if len(folders) == 1:
        return [method_of(folders[0], folders[0])]
    parts = [folder.resolve().parts for folder in folders]
    depth = max(map(len, parts))
    padded = [("",) * (depth - len(each)) + each for each in parts]
    differing = [place for place in range(depth) if len({each[place] for each in padded}) > 1]
    return ["/".join(filter(None, (each[place] for place in differing))) for each in padded]


def numbers_of(rounds: str | None) -> list[int] | None:
    """Return the numbers of rounds in words like ``0,5,-1`` or ``0..4``.

    Raises:
        ValueError: If they are none.
    """
    if rounds is None:
        return None
    numbers: list[int] = []
    for word in rounds.split(","):
        first, dots, last = word.partition("..")
        try:
            named = range(int(first), int(last) + 1) if dots else [int(first)]
        except ValueError:
            raise ValueError(f"`--rounds={rounds}` must be numbers, as 0,5,-1 or 0..4.") from None
        if not named and int(first) >= 0 > int(last):
            raise ValueError(f"`--rounds`: {word} names none; rounds from the end are named one by one, as -2,-1.")
        if not named:
            raise ValueError(f"`--rounds`: {word} names none; did you mean {last}..{first}?")
        numbers += named
    return numbers


def files_of(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Return the files of a campaign's project.

    Raises:
        FileNotFoundError: If there is none.
    """
    if options.config:
        files = [Path(file) for file in options.config]
    else:
        files = [folder / CONFIG]
        if not files[0].is_file():
            raise FileNotFoundError(
                f"{folder} has no {CONFIG}, which `lightning-al run` writes. Give the project's files, `-c FILE`, "
                "or open the campaign in Python: `lightning_al.report.diagnostics.open_campaign`."
            )
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(no_recipe(missing[0]))
    return files
