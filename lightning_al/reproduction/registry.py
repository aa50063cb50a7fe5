"""The published results, read from recipes/published: what was printed, and which recipes make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from lightning_al.recipe_files import packaged_recipes

PUBLISHED = "published"
"""The folder of the results among the recipes."""
DATA = "data"
"""The file among them that is of data sets."""


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built


def read_yaml(file: Path) -> Any:
    """Return what a file of YAML says."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)


@dataclass(frozen=True)
class Case:
    """One setting of a result: a data set with a way of training.

    Args:
        name: Of the case.
        protocol: Its recipes.
        methods: In the order of the table.
        training: A recipe after the method's; None: the protocol's own.
        small: Recipes in the place of the protocol's on a CPU; none: there are none.
        small_training: In the place of ``training``.
        arguments: Words for every run.
        options: Words for the runs of single methods.
        published: The printed figures, in the form that what is shown has.
        published_seconds: Of a round, by method.
        published_full_data: With all labels.
        at_labels: Label counts that rows are at.
        at_percent: Shares of all samples that rows are at.
    """

    name: str
    protocol: tuple[str, ...]
    methods: tuple[str, ...]
    training: str | None = None
    small: tuple[str, ...] = ()
    small_training: str | None = None
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    published_seconds: Mapping[str, float] = field(default_factory=dict)
    published_full_data: float | None = None
    at_labels: tuple[int, ...] = ()
    at_percent: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """A table or figure of a paper.

    Args:
        id: As on the command line, ``saal/table-1``.
        paper: What it is of.
        title: What it shows, in words.
        where: Where it stands there.
        shows: What it shows, in a word.
        repeats: Seeds of the paper.
        unit: ``"%"``, ``"hours"`` or nothing.
        statistic: Which value of a curve is printed: ``maximum``, ``last``, ``curve``, ``at_labels``, ``total``.
        seconds: Whether ``published_seconds`` are of a round.
        options: Of what shows it.
        note: What must be known to read it.
        runs_of: Another result, whose runs it shows.
        full_data: Whether training on all labels belongs to it.
        cases: By name.
        trainings_of: By method, which recipe stands in the place of a training's.
    """

    id: str
    paper: str
    title: str
    where: str
    shows: str
    repeats: int
    unit: str = ""
    statistic: str = ""
    seconds: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    runs_of: str | None = None
    full_data: bool = False
    cases: Mapping[str, Case] = field(default_factory=dict)
    trainings_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def recipes_folder(given: str | None = None) -> Path:
    """Return the folder of the recipes: a given one, or ``recipes`` here, or those that came with the package.

    Raises:
        FileNotFoundError: If there are no published results in it.
    """
    places = [Path("recipes"), packaged_recipes()] if given is None else [Path(given)]
    for place in places:
        if (place / PUBLISHED).is_dir():
            return place
    raise FileNotFoundError(
        f"There are no published results in {' or '.join(str(place / PUBLISHED) for place in places)}. Give the "
        "folder of the package's recipes: `--recipes FOLDER`."
    )


def read_results(recipes: Path) -> dict[str, Result]:
    """Return all results by their ids, papers in the order of their files' names and results as in the files.

    Args:
        recipes: The folder of the recipes.

    Raises:
        ValueError: If a file is not as it should be.
    """
    results: dict[str, Result] = {}
    for file in sorted((recipes / PUBLISHED).glob("*.yaml")):
        if file.stem == DATA:
            continue
        try:
            paper = read_yaml(file)
            for name, content in paper["results"].items():
                results[f"{file.stem}/{name}"] = _result(f"{file.stem}/{name}", content, paper)
        except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not as it should be: {type(error).__name__}: {error}") from None
    return {name: _with_runs(result, results) for name, result in results.items()}


def _result(name: str, content: Mapping[str, Any], paper: Mapping[str, Any]) -> Result:
    shared = content.get("same_runs_as")
    return Result(
        id=name,
        paper=" ".join(paper["paper"].split()),
        repeats=content.get("repeats", paper["repeats"]),
        runs_of=None if shared is None else f"{name.partition('/')[0]}/{shared}",
        cases={case: _case(case, of) for case, of in content.get("cases", {}).items()},
        trainings_of=paper.get("trainings_of", {}),
        options=content.get("options", {}),
        **{key: content[key] for key in ("title", "where", "shows")},
        **{key: content[key] for key in ("unit", "statistic", "seconds", "note", "full_data") if key in content},
    )


def _case(name: str, content: Mapping[str, Any]) -> Case:
    published = content.get("published", {})
    lists = ("protocol", "small", "arguments", "at_labels", "at_percent")
    single = ("training", "small_training", "options", "published", "published_seconds", "published_full_data")
    options: dict[str, Any] = {key: tuple(content[key]) for key in lists if key in content}
    options |= {key: content[key] for key in single if key in content}
    return Case(name=name, methods=tuple(content.get("methods", published)), **options)


def _with_runs(result: Result, results: Mapping[str, Result]) -> Result:
    """Return a result with the cases of the one whose runs it shows; the figures are that one's."""
    if result.runs_of is None:
        return result
    cases = {
        name: replace(case, published={}, published_seconds={}, at_labels=(), at_percent=())
        for name, case in results[result.runs_of].cases.items()
    }
    return replace(result, cases=cases)
