"""What is wrong with a command line or a recipe in a line, made of what its parser says in many."""

import difflib
import importlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lightning_al.words import cut, shown

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":[ \n]?(?P<rest>.+)', re.DOTALL)
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes\nSubtypes: (?P<types>[^\n]*)\nErrors:\n(?P<errors>.*)\n"
    r"Given value type: [^\n]*\nGiven value: (?P<value>.*)",
    re.DOTALL,
)
_CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)':\n(?P<rest>.+)", re.DOTALL)
_OPTION = re.compile(
    r"(?:Subcommand '\w+' does not accept (?:option|nested key) '(?P<of_command>[^']+)')"
    r"|(?:Group '(?P<section>[^']+)' does not accept (?:option|nested key) '(?P<of_section>[^']+)')"
    r"|(?:(?:Option|Key) '(?P<alone>[^']+)' is not (?:accepted|expected))"
)
_WORDS = re.compile(r"[Uu]nrecognized arguments: (?P<words>.+)", re.DOTALL)
_MISSING = re.compile(
    r"the following arguments are required: (?P<names>.+)|Key \"(?P<name>[^\"]+)\" is required but not included in .*"
)
_CHOICE = re.compile(
    r"argument (?P<name>\S+): invalid choice: (?P<value>.+?) \(choose from (?P<choices>.+)\)", re.DOTALL
)
_NO_CLASS = re.compile(r"Expected a dot import path string: (?P<name>.*)")
_OTHER_CLASS = re.compile(r"Import path (?P<path>\S+) does not correspond to a subclass of (?P<base>\w+)")
_NOT_IMPORTED = re.compile(
    r"module '(?P<module>[^']+)' has no attribute '(?P<name>[^']+)'|No module named .*|cannot import .*"
)
_EXPECTED = re.compile(r"Expected an? (?P<type>.+?)(?:\. Got value: (?P<value>.*))?", re.DOTALL)
_LITERAL = re.compile(r"typing\.Literal\[(?P<values>.*)\]")
_NOISE = re.compile(r"(?:Not a valid subclass of|Expected a path but|Does not implement protocol) .*", re.DOTALL)

_IS_NOISE, _IS_TYPE, _IS_NAME, _IS_CHOICE, _IS_MORE = range(5)


class Option(NamedTuple):
    """An option as the command line has it, and the type of its value."""

    flag: str
    type: Any = None


class Finding(NamedTuple):
    """What is wrong, and how much that tells: of several ways to read a value, the one that came furthest counts."""

    weight: int
    text: str


def in_a_line(message: str, options: Mapping[str, Option]) -> str:
    """Return what a message of jsonargparse or argparse says in a line; one that is not understood, as it is.

    Args:
        message: What the parser says.
        options: Those that the parser knows, by their names in a file.

    Example:
        >>> options = {"loop.query_size": Option("--loop.query_size"), "quiet": Option("--quiet", bool)}
        >>> in_a_line("Subcommand 'run' does not accept option 'loop.querysize'", options)
        'There is no option `loop.querysize`; did you mean `loop.query_size`?'
        >>> in_a_line("unrecognized arguments: --quit", options)
        'There is no option `--quit`; did you mean `--quiet`?'
    """
    return _finding(message, "", options).text


def _finding(text: str, key: str, options: Mapping[str, Option], types: str = "", value: str | None = None) -> Finding:
    """Return what a text says.

    Args:
        text: Of the parser.
        key: The option that it is about.
        options: All, with their types.
        types: What the option may be, as the parser writes it.
        value: What it was given.
    """
    text = textwrap.dedent(text.strip("\n")).strip().removeprefix("Validation failed: ")
    at = f"`{key}`: " if key else ""
    if whole := _KEY.fullmatch(text):
        known = options.get(whole["key"].partition(".")[2] if whole["key"] not in options else whole["key"])
        return _finding(whole["rest"], whole["key"], options, str(known.type) if known else "")
    if whole := _UNION.fullmatch(text):
        return _furthest(whole["errors"], key, options, whole["types"], whole["value"])
    if text.startswith("- "):
        return _furthest(text, key, options, types, value)
    if whole := _CLASS.fullmatch(text):
        said = _finding(whole["rest"], "", options).text
        if failed := _NOT_IMPORTED.fullmatch(said):
            there = vars(importlib.import_module(failed["module"])) if failed["module"] else {}
            near = [f"{failed['module']}.{name}" for name in _near(failed["name"] or "", there)]
            return Finding(_IS_MORE, f"{at}{whole['path']} cannot be imported: {said}{_meant(near)}")
        return Finding(_IS_MORE, f"{at}{whole['path'].rpartition('.')[2]}: {said[0].lower()}{said[1:]}")
    if whole := _OPTION.fullmatch(text):
        name = whole["of_command"] or whole["alone"] or f"{whole['section']}.{whole['of_section']}"
        return Finding(_IS_MORE, at + _no_option(name, options))
    if whole := _WORDS.fullmatch(text):
        return Finding(_IS_MORE, " ".join(_of_words(whole["words"].split(), options)))
    if whole := _MISSING.fullmatch(text):
        names = [
            name.partition(".")[2] if name.partition(".")[2] in options else name
            for name in (whole["names"] or whole["name"]).split(", ")
        ]
        return Finding(_IS_MORE, f"Required, and not given: {', '.join(f'`{name}`' for name in names)}.")
    if whole := _CHOICE.fullmatch(text):
        choices = [choice.strip("'") for choice in whole["choices"].split(", ")]
        near = _near(whole["value"].strip("'"), choices)
        said = f"`{whole['name'].rpartition('/')[2]}`: there is no {whole['value']}"
        return Finding(_IS_CHOICE, f"{said}{_meant(near)}" if near else f"{said}; there are {', '.join(choices)}.")
    if whole := _NO_CLASS.fullmatch(text):
        near = _near(whole["name"], {cls.__name__ for base in _classes_in(types) for cls in _below(base)})
        return Finding(_IS_NAME, f"{at}there is no class {cut(whole['name'])}{_meant(near)}")
    if whole := _OTHER_CLASS.fullmatch(text):
        return Finding(_IS_MORE, f"{at}{whole['path']} is no {whole['base']}.")
    if _NOISE.fullmatch(text):
        return Finding(_IS_NOISE, text)
    if whole := _EXPECTED.fullmatch(text):
        return _of_types([whole["type"]], key, whole["value"] if value is None else value)
    return Finding(_IS_MORE, f"{at}{text}")


def _furthest(items: str, key: str, options: Mapping[str, Option], types: str, value: str | None) -> Finding:
    """Return what came furthest of several ways to read a value; of types alone, all of them."""
    texts = [text.strip() for text in re.split(r"^- ", textwrap.dedent(items), flags=re.MULTILINE) if text.strip()]
    texts = [re.sub(r"\n  ", "\n", text) for text in texts]
    findings = [_finding(text, key, options, types, value) for text in texts]
    best = max(findings, key=lambda finding: finding.weight)
    if best.weight > _IS_TYPE:
        return best
    expected = [whole["type"] for text in texts if not _NOISE.fullmatch(text) and (whole := _EXPECTED.fullmatch(text))]
    return _of_types(expected, key, value)


def _of_types(types: list[str], key: str, value: str | None) -> Finding:
    """Say what a value must be."""
    names = [re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", name).replace("NoneType", "null") for name in types]
    choices = [
        choice for name in names if (whole := _LITERAL.fullmatch(name)) for choice in whole["values"].split(", ")
    ]
    names = list(dict.fromkeys([name for name in names if not _LITERAL.fullmatch(name)] + choices))
    listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    got = "" if value is None else f", got {shown(value)}"
    near = _near(f"{value!r}", choices)
    weight = _IS_CHOICE if choices else _IS_NOISE if names in (["null"], ["list"]) else _IS_TYPE
    return Finding(weight, f"`{key}` must be {listed}{got}{_meant(near)}")


# -- what was meant ----------------------------------------------------------------------------------------------------


def _of_words(words: list[str], options: Mapping[str, Option]) -> Iterator[str]:
    """Say of each word of a command line that it is no option, but for what may be the value of one."""
    after_option = False
    for word in words:
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            yield _no_option(name, [option.flag for option in options.values()])
        elif not after_option:
            yield f"Nothing takes {shown(word)}."
        after_option = word.startswith("-") and not equals


def _no_option(name: str, known: Iterable[str]) -> str:
    """Say that there is no such option, and what was meant: one of the same last part, or one spelt alike."""
    of_last: dict[str, list[str]] = {}
    for option in known:
        of_last.setdefault(_last(option), []).append(option)
    near = of_last.get(_last(name), []) or _near(name, [option for several in of_last.values() for option in several])
    near = near or [option for part in _near(_last(name), of_last) for option in of_last[part]]
    return f"There is no option `{name}`{_meant([f'`{option}`' for option in near[:3]])}"


def _last(option: str) -> str:
    return option.rpartition(".")[2].lstrip("-")


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), 1)


def _meant(names: list[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else "."


def _classes_in(types: str) -> list[type]:
    """Return the classes that a parser's text on types names."""
    classes = []
    for path in re.findall(r"\b\w+(?:\.\w+)+", types):
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        classes += [found] if isinstance(found, type) else []
    return classes


def _below(base: type) -> Iterator[type]:
    """Yield a class and all that were made of it so far."""
    yield base
    subclasses: list[type] = type.__subclasses__(base)
    for subclass in subclasses:
        yield from _below(subclass)
