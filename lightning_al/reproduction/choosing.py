"""What a command line chose of the results, and all that is wrong with it, said at once."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning_al.reproduction.listing import lacking
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case, Result
from lightning_al.reproduction.runs import Choice
from lightning_al.reproduction.shown import SHOWN
from lightning_al.sweep.plan import check_overrides, seeds_of
from lightning_al.words import cut, shown

_OF_RUNS = ("loop.seed", "loop.dirpath")


def result_of(name: str, results: Mapping[str, Result], findings: list[str]) -> Result | None:
    """Return the result of a name; None, and a finding with names that are near, if there is none."""
    if name in results:
        return results[name]
    ends = [each for each in results if each.partition("/")[2] == name]
    near = ends or difflib.get_close_matches(name.lower(), results, 3, cutoff=0.5)
    way = f"Did you mean {' or '.join(near)}?" if near else "`lightning-al reproduce` lists them all."
    findings.append(f"There is no result {shown(name)}. {way}")
    return None


def cases_of(result: Result, only: str, findings: list[str]) -> list[Case]:
    """Return the cases that words name: each a whole name, or a part of one, as in ``fashion_mnist-adam``.

    Args:
        result: Whose cases.
        only: Words with commas between.
        findings: Takes what is wrong.
    """
    wanted: set[str] = set()
    words = [word.strip() for word in only.split(",") if word.strip()]
    if not words:
        findings.append(f"`--only` names no case, got {shown(only)}.")
    for word in words:
        parts = {case for case in result.cases if word in case.split("-")}
        wanted |= {word} if word in result.cases else parts
        if word not in result.cases and not parts:
            known = dict.fromkeys([*result.cases, *(part for case in result.cases for part in case.split("-"))])
            findings.append(f"`--only`: {result.id} has no case {shown(word)}: {_way(word, known, result.cases)}")
    return [case for name, case in result.cases.items() if name in wanted]


def methods_in(cases: Iterable[Case], result: Result, methods: str, findings: list[str]) -> list[str]:
    """Return methods of cases by their names with commas between."""
    known = dict.fromkeys(method for case in cases for method in case.methods)
    words = [word.strip() for word in methods.split(",") if word.strip()]
    if not words:
        findings.append(f"`--methods` names none, got {shown(methods)}.")
    for word in words:
        if word not in known:
            findings.append(f"`--methods`: {result.id} has no method {shown(word)}: {_way(word, known, known)}")
    return [word for word in known if word in words]


def _way(word: str, names: Iterable[str], known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), list(names), 3)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {cut(', '.join(known), 400) or 'none'}."


def seeds_for(text: str | None, repeats: int, findings: list[str]) -> list[int]:
    """Return the seeds: so many, or those that are named; as many as the paper's repeats if nothing is said.

    Example:
        >>> [seeds_for(text, 5, []) for text in ("2", "4..5", "0,7", None)]
        [[0, 1], [4, 5], [0, 7], [0, 1, 2, 3, 4]]
    """
    if text is None:
        return list(range(repeats))
    if re.fullmatch(r"\d{1,4}", text.strip(), re.ASCII):
        count = int(text)
        if not 1 <= count <= 1000:
            findings.append(f"`--seeds` must be a number from 1 to 1000, or seeds as 0..4 or 0,3,5; got {shown(text)}.")
        return list(range(min(count, 1000)))
    return seeds_of(text, findings)


def choice_of(
    result: Result,
    needs: Needs,
    *,
    only: str | None = None,
    methods: str | None = None,
    seeds: str | None = None,
    small: bool = False,
    root: str = "runs/reproduce",
    overrides: Sequence[str] = (),
    findings: list[str],
) -> tuple[Choice, dict[str, list[str]]]:
    """Return what is to be had, and the cases that are left out with what they lack.

    A case that is named and lacks something is wrong; of all cases, those that can run do.

    Args:
        result: Which.
        needs: Knows what is here.
        only: Cases, or parts of their names, with commas between. None: all.
        methods: With commas between. None: all.
        seeds: As of :func:`seeds_for`.
        small: Whether the small form is meant.
        root: The folder of all that is written.
        overrides: Further words of each run.
        findings: Takes what is wrong.
    """
    named = list(result.cases.values()) if only is None else cases_of(result, only, findings)
    wanted = None if methods is None else methods_in(named or result.cases.values(), result, methods, findings)
    numbers = seeds_for(seeds, result.repeats, findings)
    check_overrides(overrides, findings, of_own=_OF_RUNS, who="`reproduce`", instead="`--seeds` or `--dirpath`")
    lacks = lacking(result, needs, small=small)
    cases = [case for case in named if not lacks[case.name]]
    left_out = {case.name: lacks[case.name] for case in named if lacks[case.name]}
    if left_out and (only is not None or not cases):
        findings += [f"{name} lacks {', '.join(lacking_of)}." for name, lacking_of in left_out.items()]
        findings += [f"{title}: {way}" for title, way in _where(needs, left_out.values()).items()]
    choice = Choice(
        result=result,
        cases=cases,
        methods=wanted,
        seeds=numbers,
        small=small and result.shows != "settings",  # of which there is one form
        keep_weights=result.shows in SHOWN and SHOWN[result.shows].weights,
        root=Path(root),
        overrides=tuple(overrides),
    )
    return choice, left_out


def _where(needs: Needs, lacks: Iterable[Sequence[str]]) -> dict[str, str]:
    return needs.where([lack for lacking_of in lacks for lack in lacking_of])
