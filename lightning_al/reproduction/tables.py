"""The table of a result: published, ours, and how far they are apart; as Markdown and as CSV."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.drawing.numbers import decimals
from lightning_al.report.alignment import BASELINE, FULL_DATA
from lightning_al.report.statistics import FEWEST, Spread
from lightning_al.report.tables import markdown, signed
from lightning_al.reproduction.figures import Figure
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.runs import Choice, Run
from lightning_al.storage.files import write_csv
from lightning_al.words import counted

NOT_THE_PAPERS = (
    "This is the small form, for a CPU: not the paper's network, budget or training. Ours are to be compared with each "
    "other, and not with what was published."
)
_STATISTICS = {
    "maximum": "Each seed's largest test accuracy over the rounds, as the paper prints it: chosen on the test set, "
    "hence optimistic.",
    "last": "Each seed's last round.",
    "curve": "The paper shows curves and prints no figures of them: ours are last rounds, and means over the rounds.",
    "at_labels": "Each seed's value at a number of labels.",
    "total": "All rounds of a run together.",
}


def table_of(figures: Sequence[Figure], choice: Choice) -> str:
    """Return the rows as a Markdown table: published, ours, and the difference in our standard errors.

    Figures of a small form are not the paper's, so these two columns give way to how far a method is above Random, in
    print and here, where Random is in the table.
    """
    most = max((_decimals(each) for each in figures if each.published is not None), default=0)
    unit = f" ({choice.result.unit})" if choice.result.unit else ""
    is_published = any(each.published is not None for each in figures)
    random = {(each.case, each.what): each for each in figures if each.method == BASELINE}
    header = ["case", "method", "what", *[f"published{unit}"] * is_published, f"ours{unit}", "seeds"]
    if is_published and not choice.small:
        header += ["difference", "in standard errors"]
    elif is_published and random:
        header += ["published less random", "ours less random"]
    rows = [header]
    for each in figures:
        digits = max(most, 1) if is_published else decimals(each.ours)
        spread, published = each.spread, each.published
        cells = [each.case, each.method, each.what]
        if is_published:
            cells.append("-" if published is None else Spread(published.mean, published.std).text(_decimals(each)))
        cells += ["-" if spread is None else spread.text(digits), str(len(each.ours))]
        if is_published and not choice.small:
            apart = each.in_errors
            cells += [signed(each.difference, digits), "-" if apart is None else f"{apart:+.1f}"]
        elif is_published and random:
            cells += [signed(gain, digits) for gain in _above(each, random.get((each.case, each.what)))]
        rows.append(cells)
    return markdown(rows)


def _above(figure: Figure, random: Figure | None) -> tuple[float | None, float | None]:
    """Return how far a method is above Random, in print and here."""
    if random is None or random is figure:
        return None, None
    printed, of_random = figure.published, random.published
    here, random_here = figure.spread, random.spread
    return (
        None if printed is None or of_random is None else printed.mean - of_random.mean,
        None if here is None or random_here is None else here.mean - random_here.mean,
    )


def _decimals(figure: Figure) -> int:
    """Return with how many decimals a figure was printed."""
    printed = figure.published
    if printed is None:
        return 0
    numbers = [printed.mean, *([] if printed.std is None else [printed.std])]
    return min(3, max(len(repr(number).partition(".")[2]) for number in numbers))


def notes_of(choice: Choice, figures: Sequence[Figure], runs: Sequence[Run]) -> list[str]:
    """Return the sentences that the table needs to be read."""
    result = choice.result
    notes = [NOT_THE_PAPERS] if choice.small else []
    if choice.overrides:
        notes.append(f"With options that no recipe has: {shlex.join(choice.overrides)}.")
    others = [run for run in runs if run.is_finished and run.job.is_by_others()]
    if others:
        notes.append(
            f"{counted(len(others), 'run')} of these {len(runs)} had other recipes or options than this command: "
            "`config.yaml` in a run's folder says which."
        )
    if result.statistic:
        notes.append(_STATISTICS[result.statistic])
    if any(each.published is not None for each in figures):
        notes.append(
            f"Published: mean ± standard deviation over {result.repeats} repeats, where printed; ours likewise."
        )
        if not choice.small:
            notes.append("Difference: ours less published, also in standard errors of our mean.")
    if result.note:
        notes.append(" ".join(result.note.split()))
    # All labels are trained on with one seed, and are no method.
    repeats = [len(each.ours) for each in figures if each.ours and each.method != FULL_DATA]
    seeds = min(repeats, default=len(choice.seeds))
    if runs and seeds < FEWEST:
        notes.append(f"Fewer than {FEWEST} seeds: nothing can be concluded.")
    return notes


def other_data(choice: Choice, needs: Needs) -> str:
    """Return a sentence on the cases whose small form is on other data than the paper's; nothing, if none is."""
    titles = {case.name: [needs.titles(case, small=small) for small in (True, False)] for case in choice.cases}
    said = [
        f"{name} is on {', '.join(small)} here" for name, (small, full) in titles.items() if small and small != full
    ]
    return f"The small form is on other data than the paper's: {'; '.join(said)}." if choice.small and said else ""


def unfinished(runs: Sequence[Run]) -> str:
    """Return a sentence on the runs that are not in the table; nothing, if all are."""
    left = [run for run in runs if not run.is_finished]
    if not left:
        return ""
    rounds = {run.job.name: run.job.progress().done for run in left}
    begun = [f"{name} (after {counted(done, 'round')})" for name, done in rounds.items() if done]
    more = f" and {len(begun) - 20} more" if len(begun) > 20 else ""
    texts = [f"Not finished, and not in the table: {'; '.join(begun[:20])}{more}."] if begun else []
    waiting = len(left) - len(begun)
    if waiting:
        texts.append(f"Not one round is done of {counted(waiting, 'run')}.")
    return " ".join(texts)


def write_numbers(figures: Sequence[Figure], path: Path, *, is_small: bool = False) -> None:
    """Write the rows as CSV, with all digits and the value of each seed; of a small form without differences."""
    rows: list[dict[str, Any]] = []
    for each in figures:
        published, spread = each.published, each.spread
        rows.append(
            {
                "case": each.case,
                "method": each.method,
                "what": each.what,
                "published": None if published is None else published.mean,
                "published_std": None if published is None else published.std,
                "ours": None if spread is None else spread.mean,
                "ours_std": None if spread is None else spread.std,
                "seeds": len(each.ours),
                "difference": None if is_small else each.difference,
                "standard_errors": None if is_small else each.in_errors,
                "values": " ".join(map(repr, each.ours)),
            }
        )
    write_csv(path, rows)
