"""What is there of a result, told: tables, notes, pictures, and the page of all of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_al.report.tables import markdown
from lightning_al.reproduction import pages, tables
from lightning_al.reproduction.diagnosing import found_by, outputs_of
from lightning_al.reproduction.figures import Figure
from lightning_al.reproduction.measured import measured, rows_of, settings_of
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.pictures import draw_beside
from lightning_al.reproduction.runs import Choice, Run
from lightning_al.reproduction.shown import SHOWN

Draw = Callable[[], list[Path]]


def report(choice: Choice, runs: Sequence[Run], needs: Needs, words: Sequence[str]) -> str:
    """Write the folder of a result, and return what is printed.

    Args:
        choice: What was chosen.
        runs: Of it.
        needs: Knows recipes.
        words: Of the command after ``lightning-al reproduce``.
    """
    shows, folder = choice.result.shows, choice.folder
    outputs = outputs_of(choice, runs) if shows in SHOWN else []
    figures: list[Figure] = []
    texts: list[str] = []
    draws: list[Draw] = []
    if shows == "settings":
        texts.append(markdown(settings_of(choice.cases, needs)))
    elif shows in SHOWN:
        figures = found_by(choice, runs, needs)
        if not figures:
            texts.append(pages.diagnosed_tables(outputs) or "No diagnosis has ended yet.")
        draws.append(lambda: pages.diagnosed_pictures(outputs))
    else:
        found = measured(runs, shows)
        draws.append(lambda: pages.draw_curves(found, folder))
        if shows == "pairwise":
            pairs = pages.pairs_of(found)
            texts.append(pages.pairs_table(pairs) if pairs else "No two methods have finished runs of one seed yet.")
            draws.insert(0, lambda: pages.draw_pairs(pairs, folder) if pairs else [])
        else:
            figures = rows_of(choice, runs, needs)
    if figures:
        tables.write_numbers(figures, folder / "figures.csv", is_small=choice.small)
        texts.insert(0, tables.table_of(figures, choice))
        if not choice.small and any(each.published is not None and each.ours for each in figures):
            draws.insert(0, lambda: _beside(choice, figures))
    texts += [tables.other_data(choice, needs), *tables.notes_of(choice, figures, runs)]
    if runs:
        texts.append(tables.unfinished(runs))
    text = "\n\n".join(filter(None, texts))
    pictures = _drawn(draws)
    page = pages.write_page(choice, runs, words, text=text, pictures=pictures, outputs=outputs)
    return f"{text}\n\nTables, pictures and runs: {page}"


def _beside(choice: Choice, figures: Sequence[Figure]) -> list[Path]:
    path = choice.folder / "published_and_ours.png"
    draw_beside(figures, choice.result.unit, path)
    return [path]


def _drawn(draws: Sequence[Draw]) -> list[Path]:
    """Draw, and return the pictures; none where matplotlib is missing."""
    pictures: list[Path] = []
    try:
        for draw in draws:
            pictures += draw()
    except ImportError as error:
        print(f"No pictures: {error}")
    return pictures
