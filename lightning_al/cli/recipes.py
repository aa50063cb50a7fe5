"""``lightning-al recipes``: the recipes that come with the package, listed or copied."""

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_al.recipe_files import packaged_recipes, recipe_names
from lightning_al.words import counted, shown


def recipes(names: Sequence[str], copy_to: str | None = None) -> None:
    """Print the recipes, a line each, or copy them.

    Args:
        names: Recipes or folders of recipes, as ``quickstart`` or ``saal``. None: all.
        copy_to: Folder that they are copied into, each at its place below it. None: they are listed.

    Raises:
        ValueError: If there is no such recipe, or a file to be written is there with other contents; nothing is
            copied then.
    """
    folder = packaged_recipes()
    chosen = _chosen(names, recipe_names(folder))
    if copy_to is None:
        _print_list(folder, chosen)
    else:
        _copy(folder, chosen, Path(copy_to))


def _chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    chosen: set[str] = set()
    findings = []
    for name in names:
        plain = name.removeprefix("recipes/").removesuffix("/").removesuffix(".yaml")
        found = {other for other in known if other == plain or other.startswith(f"{plain}/")}
        if not found:
            rooms = {other.rpartition("/")[0] for other in known if "/" in other}
            lasts = {other.rpartition("/")[2]: other for other in known}
            near = difflib.get_close_matches(plain, [*known, *rooms, *lasts], 3)
            meant = " or ".join(dict.fromkeys(lasts.get(other, other) for other in near))
            way = f"did you mean {meant}?" if near else "`lightning-al recipes` lists them."
            findings.append(f"There is no recipe {shown(name)}: {way}")
        chosen |= found
    if findings:
        raise ValueError("\n".join(findings))
    return [name for name in known if name in chosen] if names else list(known)


def _print_list(folder: Path, names: Sequence[str]) -> None:
    width = shutil.get_terminal_size((120, 24)).columns
    longest = max(len(name) for name in names)
    for name in names:
        line = f"{name:<{longest}}  {_title(folder / f'{name}.yaml')}"
        print(line if len(line) <= width else f"{line[: width - 3]}...")
    print(
        f"\n{counted(len(names), 'recipe')}, in {folder}. Into a folder of yours: `lightning-al recipes --copy recipes`"
    )


def _title(file: Path) -> str:
    """Return the first paragraph of the comment that a recipe begins with, in one line."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        said = line.removeprefix("#").strip()
        if not line.startswith("#") or not said:
            break
        lines.append(said)
    return " ".join(lines)


def _copy(folder: Path, names: Sequence[str], target: Path) -> None:
    there = {name: target / f"{name}.yaml" for name in names}
    contents = {name: (folder / f"{name}.yaml").read_bytes() for name in names}
    in_the_way = [path for name, path in there.items() if path.exists() and path.read_bytes() != contents[name]]
    if in_the_way:
        named = ", ".join(map(str, in_the_way[:3])) + (", ..." if len(in_the_way) > 3 else "")
        raise ValueError(
            f"{counted(len(in_the_way), 'file')} with other contents would be overwritten: {named}. Nothing was "
            "copied; give another folder."
        )
    for name, path in there.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name])
    print(f"{counted(len(names), 'recipe')} in {target}. For example:")
    first = next((name for name in names if "acquisitions/" not in name and "training/" not in name), names[0])
    print(f"  lightning-al run -c {there[first]}")
