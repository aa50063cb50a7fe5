"""What the runs of a case take that is not here: recipes, data, packages. Files are looked for, none is read."""

import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_al.reproduction.registry import DATA, PUBLISHED, Case, read_yaml

NO_SMALL = "a small protocol"
_EXTRAS = {
    "PIL": "'lightning-al[labels]'",
    "torchvision": "'lightning-al[vision]'",
    "mrcfile": "'lightning-al[tomography]'",
    "sklearn": "'lightning-al[cluster]'",
    "faster_coco_eval": "'lightning-al[detection]'",
}
"""What pip is asked for, by the package that is imported."""


@dataclass(frozen=True)
class DataSet:
    """What must lie in the folder of a data set, and where to get it.

    Args:
        title: What it is called.
        holds: Any of these: patterns that match something each, or how many folders each matches.
        get: Where to get it.
        places: Folders that are looked into beside the one that is named.
        samples: Of the pool, where known.
        packages: By the name that Python imports.
    """

    title: str
    holds: Sequence[Sequence[str] | Mapping[str, int]]
    get: str
    places: Sequence[str] = ()
    samples: int | None = None
    packages: Sequence[str] = ()

    def is_in(self, folder: Path) -> bool:
        """Whether it lies in a folder."""
        return any(
            all(_count(folder, pattern) == count for pattern, count in each.items())
            if isinstance(each, Mapping)
            else all(_count(folder, pattern, most=1) for pattern in each)
            for each in self.holds
        )


def _count(folder: Path, pattern: str, most: int | None = None) -> int:
    """Return how many files or, of a pattern with a slash at its end, folders match; counting ends at ``most``."""
    count = 0
    for path in folder.glob(pattern.rstrip("/")):
        count += not path.name.startswith(".") and (not pattern.endswith("/") or path.is_dir())
        if count == most:
            break
    return count


@dataclass(frozen=True)
class Source:
    """A data module of a protocol.

    Args:
        data: Its data set.
        option: The option of its folder, ``--data.root``.
        root: The folder that the protocol names.
    """

    data: DataSet
    option: str
    root: str | None

    def found(self, given: str | None) -> tuple[bool, tuple[str, ...]]:
        """Say whether the data are there, and return the words that a run needs to find them.

        Args:
            given: A folder that is looked into first.
        """
        if given is not None and self.data.is_in(Path(given).expanduser()):
            return True, (f"{self.option}={given}",)
        # A data module that has places of its own looks into these where no folder is named.
        places = [*self.data.places, "data"] if self.root is None else [self.root]
        return any(self.data.is_in(Path(place).expanduser()) for place in places), ()


def read_data_sets(recipes: Path) -> dict[str, DataSet]:
    """Return the data sets by the names of their data modules, with the folder behind where one is of several."""
    file = recipes / PUBLISHED / f"{DATA}.yaml"
    content = read_yaml(file) if file.is_file() else {}
    return {name: DataSet(**{**of, "get": " ".join(of["get"].split())}) for name, of in content.items()}


class Needs:
    """Knows what is here.

    Args:
        recipes: The folder of the recipes.
        root: A folder in which data are looked for before those that protocols name.
    """

    def __init__(self, recipes: Path, root: str | None = None) -> None:
        self.recipes, self.root = recipes, root
        self.data_sets = read_data_sets(recipes)
        self._read = functools.cache(self._recipe)
        self._seen: dict[tuple[str, str | None], tuple[bool, tuple[str, ...]]] = {}

    def lacks(self, case: Case, *, small: bool, packages: Sequence[str] = ()) -> list[str]:
        """Return what the runs of a case lack, in a few words each; nothing: they can run.

        Args:
            case: Which.
            small: Whether its small form is meant.
            packages: What else must be installed.
        """
        if small and not case.small:
            return [NO_SMALL]
        training = case.small_training if small else case.training
        files = [*protocol_of(case, small=small), *([] if training is None else [training])]
        missing = [f"the recipe {file}" for file in files if not (self.recipes / file).is_file()]
        if missing:
            return missing
        sources = self._sources(case, small=small)
        lacking = [source.data.title for source in sources if not self._found(source)[0]]
        wanted = [*packages, *(package for source in sources for package in source.data.packages)]
        missing = [package for package in dict.fromkeys(wanted) if importlib.util.find_spec(package) is None]
        lacking += [f"the package {package} (pip install {_EXTRAS.get(package, package)})" for package in missing]
        return list(dict.fromkeys(lacking))

    def words(self, case: Case, *, small: bool) -> tuple[str, ...]:
        """Return the words of a run that say where the data are."""
        return tuple(word for source in self._sources(case, small=small) for word in self._found(source)[1])

    def titles(self, case: Case, *, small: bool) -> list[str]:
        """Return what the data sets of a case are called."""
        return list(dict.fromkeys(source.data.title for source in self._sources(case, small=small)))

    def where(self, titles: Sequence[str]) -> dict[str, str]:
        """Return where data sets can be had, by what they are called."""
        return {data.title: data.get for data in self.data_sets.values() if data.title in titles}

    def recipe(self, case: Case, *, small: bool) -> dict[str, Any]:
        """Return what the protocol of a case says; what a later file says of a section goes first."""
        merged: dict[str, Any] = {}
        for file in protocol_of(case, small=small):
            for section, content in self._read(file).items():
                both = isinstance(content, dict) and isinstance(merged.get(section), dict)
                merged[section] = {**merged[section], **content} if both else content
        return merged

    def round_at(self, case: Case, place: int) -> int:
        """Return the round of the published protocol in which a row's entry at a place was measured.

        Args:
            case: Which.
            place: Of the entry in its row.
        """
        loop = self.recipe(case, small=False)["loop"]
        if case.at_labels:
            labels = case.at_labels[place]
        elif case.at_percent:
            [data] = [source.data for source in self._sources(case, small=False)]
            labels = round((data.samples or 0) * case.at_percent[place] / 100)
        else:
            return place
        return round((labels - loop["initial"]) / loop["query_size"])

    def _recipe(self, file: str) -> dict[str, Any]:
        content = read_yaml(self.recipes / file)
        return content if isinstance(content, dict) else {}

    def _found(self, source: Source) -> tuple[bool, tuple[str, ...]]:
        key = source.option + source.data.title, source.root
        if key not in self._seen:
            self._seen[key] = source.found(self.root)
        return self._seen[key]

    def _sources(self, case: Case, *, small: bool) -> list[Source]:
        return list(_sources(self.recipe(case, small=small).get("data"), "data", self.data_sets))


def _sources(section: Any, option: str, data_sets: Mapping[str, DataSet]) -> Iterator[Source]:
    """Find the data modules in the section ``data`` of a recipe, those inside of others too."""
    if not isinstance(section, Mapping):
        return
    options = section.get("init_args") or {}
    name, root = str(section.get("class_path", "")).rpartition(".")[2], options.get("root")
    data = data_sets.get(f"{name} {root}", data_sets.get(name))
    if data is not None:
        yield Source(data, f"--{option}.root", root)
    for key, value in options.items():
        yield from _sources(value, f"{option}.{key}", data_sets)


def protocol_of(case: Case, *, small: bool) -> tuple[str, ...]:
    """Return the recipes of a case's protocol."""
    return case.small if small else case.protocol
