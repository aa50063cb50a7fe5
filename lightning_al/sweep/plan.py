"""Methods by seeds: the campaigns of a sweep, and all that is wrong with what it was told, said at once."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_al.recipe_files import no_recipe, packaged_recipes
from lightning_al.sweep.campaigns import CampaignJob
from lightning_al.words import cut, shown

_MOST_SEEDS = 1000
_LARGEST_SEED = 2**32 - 1  # what NumPy takes
ROOMS = ("acquisitions", "training")
"""Folders of recipes of methods, and of what changes how a model trains, which is of a method too."""
_SWEPT = ("loop.seed", "loop.dirpath", "config", "resume")


class PlanError(ValueError):
    """What is wrong with a sweep, a line for each."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = list(findings)
        super().__init__(self.findings)

    def __str__(self) -> str:
        if len(self.findings) == 1:
            return self.findings[0]
        lines = "".join(f"\n  {number}. {finding}" for number, finding in enumerate(self.findings, 1))
        return f"{len(self.findings)} things cannot be as they are:{lines}"


@dataclass(frozen=True)
class Method:
    """A method of a sweep: its name, and the recipes that are given after the protocol's."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Plan:
    """The campaigns of a sweep.

    Args:
        protocol: Recipes that all have.
        methods: What they differ in.
        seeds: Each method has all of them.
        template: The campaigns' folder, with ``{method}`` and ``{seed}``.
        overrides: Further words of each command.
    """

    protocol: tuple[Path, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    template: str
    overrides: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The folder above all campaigns, of which ``lightning-al compare`` tells."""
        parts = Path(self.template).parts
        kept = [i for i, part in enumerate(parts) if "{method}" in part or "{seed}" in part]
        return Path(*parts[: min(kept, default=len(parts))])

    def folder(self, method: Method, seed: int) -> Path:
        """Return the folder of a campaign."""
        return Path(self.template.replace("{method}", method.name).replace("{seed}", str(seed)))

    def words(self, method: Method, seed: int | None = None) -> list[str]:
        """Return the words of a command after ``lightning-al run``; without a seed, none that it has of its own."""
        files = [word for file in (*self.protocol, *method.files) for word in ("-c", str(file))]
        if seed is None:
            return [*files, *self.overrides]
        own = [f"--loop.seed={seed}", f"--loop.dirpath={self.folder(method, seed)}", "--resume"]
        return [*files, *self.overrides, *own]

    def jobs(self, program: Sequence[str]) -> list[CampaignJob]:
        """Return the campaigns, all methods with the first seed before any with the second."""
        return [
            CampaignJob(
                name=f"{method.name}, seed {seed}",
                words=(*program, "run", *self.words(method, seed)),
                log=self.folder(method, seed).with_name(self.folder(method, seed).name + ".log"),
                kind=method.name,
                folder=self.folder(method, seed),
                recipes=(*self.protocol, *method.files),
                options=(*self.overrides, f"--loop.seed={seed}"),
            )
            for seed in self.seeds
            for method in self.methods
        ]


def plan_of(
    protocol: Sequence[str],
    methods: str,
    seeds: str,
    *,
    dirpath: str | None = None,
    overrides: Sequence[str] = (),
    findings: list[str],
) -> Plan:
    """Return the plan of a sweep, as far as it can be told.

    Args:
        protocol: Recipes that all campaigns have.
        methods: Names of recipes, or their files, with commas between.
        seeds: As ``0..4`` or ``0,3,5``.
        dirpath: The folder above all campaigns, or one with ``{method}`` and ``{seed}``; None: the protocol's.
        overrides: Further words of each command.
        findings: Takes what is wrong.
    """
    files, loop = _protocol(protocol, findings)
    found = methods_of(methods, files, findings)
    numbers = seeds_of(seeds, findings)
    check_overrides(overrides, findings, of_own=_SWEPT, who="a sweep", instead="`--seeds`, `--dirpath` or `-c`")
    template = _template(loop.get("dirpath") if files else "", dirpath, findings)
    plan = Plan(tuple(files), tuple(found), tuple(numbers), template, tuple(overrides))
    named = {word.strip() for word in methods.split(",")} - {""}  # of which some may not be found
    counts = {"{method}": len(named), "{seed}": len(numbers)}
    _check_folders(template, dirpath, counts, findings)
    return plan


def seeds_of(text: str, findings: list[str]) -> list[int]:
    """Return the seeds that a text names; what is wrong goes into ``findings``.

    Example:
        >>> seeds_of("0..2,7", findings := []), findings
        ([0, 1, 2, 7], [])
        >>> seeds_of("4..0,x", findings := []), len(findings)
        ([], 2)
    """
    seeds: list[int] = []
    for word in _listed("--seeds", text, findings):
        whole = re.fullmatch(r"(\d{1,12})(?:\.\.(\d{1,12}))?", word, re.ASCII)
        if whole is None:
            findings.append(f"`--seeds`: {shown(word)} is no seed: give numbers of at least 0, as `0..4` or `0,3,5`.")
            continue
        first, last = int(whole[1]), int(whole[2] or whole[1])
        if last < first:
            findings.append(f"`--seeds`: {word} names none; did you mean {last}..{first}?")
        elif last > _LARGEST_SEED or last - first >= _MOST_SEEDS:
            findings.append(f"`--seeds`: {word} is too much: at most {_MOST_SEEDS} seeds, each below 2**32.")
        else:
            seeds += range(first, last + 1)
    _find_repeated("--seeds", map(str, seeds), findings)
    return seeds


def _listed(option: str, text: str, findings: list[str]) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        findings.append(f"`{option}` names none, got {shown(text)}.")
    return words


def _find_repeated(option: str, words: Iterable[str], findings: list[str]) -> None:
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        findings.append(f"`{option}` names {', '.join(map(cut, twice[:10]))} more than once.")


def _protocol(protocol: Sequence[str], findings: list[str]) -> tuple[list[Path], Mapping[str, Any]]:
    """Return the protocol's files that can be read, and its section ``loop``."""
    files: list[Path] = []
    loop: dict[str, Any] = {}
    for file in map(Path, protocol):
        recipe = recipe_of(file, findings)
        if recipe is not None:
            files.append(file)
            section = recipe.get("loop")
            loop |= section if isinstance(section, dict) else {}
    return files, loop


def recipe_of(file: Path, findings: list[str]) -> dict[str, Any] | None:
    """Return what is in a recipe; None, and a finding, if it is none."""
    try:
        recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        findings.append(no_recipe(file))
    except OSError as error:
        findings.append(f"{error.strerror}: {file}.")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        findings.append(f"{file} is no YAML: {cut(' '.join(str(error).split()))}")
    else:
        if isinstance(recipe, dict):
            return recipe
        findings.append(f"{file} is no recipe: it holds {shown(recipe)}, and no sections.")
    return None


def methods_of(text: str, protocol: Sequence[Path], findings: list[str]) -> list[Method]:
    """Return the methods of these names, with commas between; what is wrong goes into ``findings``."""
    rooms = [room for room in _rooms(protocol) if room.is_dir()]
    methods: dict[str, Method] = {}
    words = _listed("--methods", text, findings)
    _find_repeated("--methods", words, findings)
    for word in dict.fromkeys(words):
        files = [_file(part.strip(), rooms, findings) for part in word.split("+")]
        read = [file for file in files if file is not None and recipe_of(file, findings) is not None]
        if len(read) < len(files):
            continue
        method = Method("_".join(file.stem for file in read), tuple(read))
        if method.name in methods:
            findings.append(
                f"`--methods`: two are named {method.name}, and would share a folder: "
                f"{' '.join(map(str, methods[method.name].files))} and {' '.join(map(str, method.files))}."
            )
        methods[method.name] = method
    return list(methods.values())


def _rooms(protocol: Sequence[Path]) -> Iterable[Path]:
    """The folders in which methods have names: beside the protocol or above it, here, and those of the package."""
    above = [parent for file in protocol for parent in [file.parent, *file.parent.absolute().parents][:4]]
    for folder in dict.fromkeys([*above, Path("recipes"), Path(), packaged_recipes()]):
        for room in ROOMS:
            yield folder / room


def _file(name: str, rooms: Sequence[Path], findings: list[str]) -> Path | None:
    """Return the file of a method, or of a training; None, and a finding, if there is none."""
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)  # whether it is there is found when it is read
    for room in rooms:
        if name and (room / f"{name}.yaml").is_file():
            return room / f"{name}.yaml"
    known = sorted({path.stem for room in rooms for path in room.glob("*.yaml")})
    near = difflib.get_close_matches(name.lower(), known, 3)
    if near:
        way = f"did you mean {' or '.join(near)}?"
    else:
        way = f"there are {', '.join(known)}; or give a file."
    findings.append(f"`--methods`: there is no method {shown(name)}: {way}")
    return None


def check_overrides(
    overrides: Sequence[str], findings: list[str], *, of_own: Sequence[str], who: str, instead: str
) -> None:
    """Refuse words of each run that it has of its own.

    Args:
        overrides: The words.
        findings: Takes what is wrong.
        of_own: Names of such options.
        who: Says them.
        instead: What to give in their place.
    """
    for word in overrides:
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("-") and name in of_own:
            findings.append(f"`--{name}` is what {who} says of each run: give {instead}.")


def _template(own: Any, given: str | None, findings: list[str]) -> str:
    if given is None and not isinstance(own, str):
        findings.append(f"The protocol says no `loop.dirpath` (got {shown(own)}): give `--dirpath FOLDER`.")
        return ""
    template = str(own) if given is None else given
    if given is not None and "{method}" not in given and "{seed}" not in given:
        return str(Path(given) / "{method}" / "seed_{seed}")
    return template


def _check_folders(template: str, dirpath: str | None, counts: Mapping[str, int], findings: list[str]) -> None:
    """Find that runs would share a folder; ``counts`` says how many each placeholder has to tell apart."""
    without = [place for place, count in counts.items() if count > 1 and place not in template]
    if template and without:
        whose = "The protocol's `loop.dirpath`" if dirpath is None else "`--dirpath`"
        findings.append(
            f"{whose} is {template}, without {' and '.join(without)}: runs would share a folder. Give "
            "`--dirpath FOLDER`; runs are in FOLDER/{method}/seed_{seed}."
        )
