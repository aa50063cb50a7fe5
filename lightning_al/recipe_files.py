"""The recipes that come with the package: where they lie, and which there are."""

import difflib
from pathlib import Path


def packaged_recipes() -> Path:
    """Return the folder of the recipes that came with the package, or those beside it in a checkout.

    Example:
        >>> (packaged_recipes() / "quickstart.yaml").is_file()
        True
    """
    package = Path(__file__).parent
    inside = package / "recipes"  # where a wheel puts them
    return inside if inside.is_dir() else package.parent / "recipes"


def recipe_names(folder: Path) -> list[str]:
    """Return the names of the recipes in a folder, as ``saal/cifar10_low_budget``, folders after files.

    Example:
        >>> [name for name in recipe_names(packaged_recipes()) if name.startswith("saal/cifar10_l")]
        ['saal/cifar10_long_tailed', 'saal/cifar10_low_budget']
    """
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(names, key=lambda name: (name.count("/"), name))


def no_recipe(path: Path) -> str:
    """Return what is said of a file of a recipe that is not there: the file, and the one that was probably meant.

    Example:
        >>> no_recipe(packaged_recipes() / "quickstrat.yaml").rpartition("/")[2]
        'quickstart.yaml?'
        >>> no_recipe(Path("mine/protocol.yaml"))
        'There is no recipe mine/protocol.yaml.'
    """
    beside = {other.stem: other for other in sorted(path.parent.glob("*")) if other.suffix in (".yaml", ".yml")}
    near = difflib.get_close_matches(path.stem, beside, 1)
    if near:
        return f"There is no recipe {path}: did you mean {beside[near[0]]}?"
    way = " Those that came with the package are put there by `lightning-al recipes --copy recipes`."
    return f"There is no recipe {path}.{way * ('recipes' in path.parts)}"
