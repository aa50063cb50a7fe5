"""The recipes that come with the package: where they lie, and which there are."""

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
