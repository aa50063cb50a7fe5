"""The picks of each round as people see them, and their scores beside those of all."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from lightning_al.drawing.markup import Html, details, name_of, prose, section, table, tag
from lightning_al.drawing.numbers import alike, number
from lightning_al.oracle.skip import SKIP
from lightning_al.report.page.charts import Ranges, range_chart
from lightning_al.report.page.coverage import classes_in, said_of
from lightning_al.report.page.pictures import FEW_PIXELS, Album, Look, class_key, tile, words_of
from lightning_al.report.page.reading import Asked, Told
from lightning_al.report.tables import thinned
from lightning_al.tasks.annotations import Boxes, Mask

MOST_TILES = 480
"""Samples shown on a page."""

_MOST_ROUNDS = 10  # of a campaign
_PER_ROUND = 16
_MOST_SCORES = 24  # rounds whose scores are drawn

LookAt = Callable[[Told, int], Look | None]
"""What there is to see of a campaign's sample; None where it cannot be reached."""


def picks_section(shown: Sequence[Told], look_at: LookAt, album: Album, notes: Callable[[], list[str]]) -> Html:
    """Return the samples that were asked for, round by round.

    Args:
        shown: One campaign of each method.
        look_at: Gives what there is to see.
        album: Takes pictures.
        notes: Gives what is to be said of the data, once all were looked at.
    """
    rounds, each = _shares(shown)
    parts: list[Html] = []
    for campaign in shown:
        every = [question for question in campaign.asked if question.units]
        questions = [every[i] for i in thinned(list(range(len(every))), rounds)]
        inside = [_question(campaign, question, look_at, album, each) for question in questions]
        if len(questions) < len(every):
            few = f"{len(questions)} of {len(every)} questions, evenly spread."
            inside.insert(0, tag("p", few, class_="note"))
        inside.append(_key(campaign, questions, each))
        if questions and len(shown) > 1:
            parts.append(details(campaign.name, *inside, open=not parts))
        elif questions:
            parts += inside
    said = [tag("p", prose(note), class_="note") for note in notes()]
    return section("What was picked, round by round", *said, *parts, name="picks")


def _shares(shown: Sequence[Told]) -> tuple[int, int]:
    """Return how many questions of each campaign are shown, and how many samples of each."""
    rounds = min(_MOST_ROUNDS, max((len(campaign.asked) for campaign in shown), default=1)) or 1
    most = max((len(question.units) for each in shown for question in each.asked), default=1)
    return rounds, min(most, _PER_ROUND, max(MOST_TILES // max(len(shown), 1) // rounds, 4))


def _question(campaign: Told, question: Asked, look_at: LookAt, album: Album, most: int) -> Html:
    places = thinned(list(range(len(question.units))), most)
    result = next((r for r in campaign.rounds if r.round == question.round), None)
    count = f"{len(question.units)} asked for"
    order = ", from the best to the last" if question.is_by_score else ""
    kept = f", {len(places)} of them below{order}" if len(places) < len(question.units) else ""
    before = f" with {number(result.amount)} {result.counts}" if result is not None else ""
    tiles, kind, text = [], "", alike(question.scores)
    for place in places:
        unit = question.units[place]
        look = look_at(campaign, unit)
        kind = kind or _kind(look, said_of(campaign.standing, unit))
        known = place < len(question.scores) and math.isfinite(question.scores[place])
        score = text(question.scores[place]) if known else ""
        tiles.append(sample_tile(campaign, unit, look, album, score=score, region=question.regions.get(unit)))
    title = f"{question.name[0].upper()}{question.name[1:]}{before}: {count}{kept}"
    return tag("div", tag("h4", title), tag("div", *tiles, class_=f"tiles {kind}".strip()), class_="question")


def _kind(look: Look | None, annotation: Any) -> str:
    if look is None or look.image is None:
        return "read-tiles" if look is not None and look.text is not None else ""
    if isinstance(annotation, (Boxes, Mask)):
        return "large"
    return "small" if max(look.image.size) <= FEW_PIXELS else ""


def sample_tile(
    campaign: Told,
    unit: int,
    look: Look | None,
    album: Album,
    *,
    score: str = "",
    region: Any = None,
    more: Sequence[Any] = (),
) -> Html:
    """Return one sample of a campaign, with its label, its score and its name."""
    standing = campaign.standing
    sample = standing.samples.get(unit)
    annotation = said_of(standing, unit)
    key = (sample.key if sample is not None else None) or f"index {unit}"
    name = f"#{unit}" if key.startswith("sha256:") else key
    state = (
        ""
        if sample is None or annotation is not None
        else {"pending": "not answered yet"}.get(sample.state, sample.state)
    )
    said = state if annotation is None else words_of(annotation)
    below = [
        tag("b", name_of(said)) if said else None,
        f"score {score}" if score else None,
        tag("span", name_of(name), class_="soft") if look is not None or name != key else None,
        *more,
    ]
    if unit < 0:
        below.append("gone from the data")
    alt = f"{name[:80]}: {said[:80] or 'no label'}"
    return tile(
        album, look, annotation, standing.classes, alt=alt, below=[b for b in below if b], region=region, instead=key
    )


def _key(campaign: Told, questions: Sequence[Asked], each: int) -> Html:
    """Return which colour of masks and boxes is which class, of those that are shown."""
    numbers: set[int] = set()
    classes = campaign.standing.classes
    for question in questions:
        for place in thinned(list(range(len(question.units))), each):
            annotation = said_of(campaign.standing, question.units[place])
            if isinstance(annotation, Mask):
                numbers |= {int(name) for name in classes_in(annotation) or ()}
            elif isinstance(annotation, Boxes) and classes is not None:
                numbers |= {classes.index(name) for name in annotation.labels if name in classes}
    return class_key(sorted(numbers), classes)


def scores_section(shown: Sequence[Told]) -> Html:
    """Return the scores of what was picked beside those of all candidates."""
    parts: list[Html] = []
    without = []
    for place, campaign in enumerate(shown):
        scored = [q for q in campaign.asked if any(map(math.isfinite, q.scores))]
        if not scored:
            without.append(campaign.method)
            continue
        kept = [scored[i] for i in thinned(list(range(len(scored))), _MOST_SCORES)]
        has_all = any(q.quantiles for q in kept)
        ranges = [Ranges(q.name, q.quantiles, q.scores) for q in kept]
        caption = f"{campaign.name}: scores of the picks" + (" and of all candidates" if has_all else "")
        caption += f", {len(kept)} of {len(scored)} rounds" if len(kept) < len(scored) else ""
        numbers = table(_score_rows(kept), caption, name=f"scores-{place + 1}")
        title = [tag("h3", campaign.name)] if len(shown) > 1 else []
        about = f"{caption}. The table below has the numbers."
        parts += [*title, range_chart(ranges, x="score", about=about), details("The numbers", numbers)]
        if not has_all:
            note = "The ledger has no scores of what was not picked: it began with an earlier version."
            parts.append(tag("p", note, class_="note"))
    if without and parts:
        parts.append(tag("p", f"Without scores: {', '.join(without)}.", class_="note"))
    if parts:
        lead = "Larger is more wanted. Each round's scores are of its own model. A method that looks for samples "
        parts.insert(0, tag("p", lead + "that differ from each other picks some with small scores too.", class_="note"))
    return section("Scores of the picks beside all", *parts, name="scores")


def _score_rows(questions: Sequence[Asked]) -> list[list[str]]:
    rows = [["round", "candidates", "all: 5 %", "median", "95 %", "picked: least", "median", "most"]]
    text = alike(value for question in questions for value in (*question.quantiles, *question.scores))
    for question in questions:
        known = sorted(score for score in question.scores if math.isfinite(score))
        of_all = [text(question.quantiles[i]) for i in (0, 2, 4)] if question.quantiles else ["-"] * 3
        count = f"{question.candidates:,}" if question.candidates else "-"
        of_picked = [text(known[i]) for i in (0, len(known) // 2, -1)]
        rows.append([question.name, count, *of_all, *of_picked])
    return rows


def said_in_words(annotation: Any) -> str:
    """Return what one person said of a sample."""
    return "skipped" if annotation is SKIP else words_of(annotation)
