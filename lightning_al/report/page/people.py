"""Who labelled what, and where annotators disagree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from lightning_al.drawing.markup import Html, name_of, section, table, tag
from lightning_al.oracle.people.agreement import Said, agree
from lightning_al.oracle.skip import DATASET, SKIP
from lightning_al.report.page.picks import LookAt, said_in_words, sample_tile
from lightning_al.report.page.pictures import Album
from lightning_al.report.page.reading import Told
from lightning_al.tasks.annotations import annotation_of, meaning

MOST_SHOWN = 40
"""Samples that annotators disagree on, of all campaigns."""

_MOST_PEOPLE = 12
_NOBODY = "nobody named"


def said_last(campaign: Told, unit: int) -> dict[str, Any]:
    """Return what each person said last of a sample, as people say it; by people."""
    sample = campaign.standing.samples[unit]
    last: dict[str, Any] = {}
    for each in sample.said[sample.before :]:
        last[each.annotator] = each.annotation
    return {who: _in_words(said, campaign) for who, said in last.items()}


def _in_words(label: Any, campaign: Told) -> Any:
    if label is SKIP:
        return SKIP
    try:
        return annotation_of(label, campaign.standing.classes)
    except (ValueError, TypeError, OSError):
        return str(label)


def disagreements(said: Mapping[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return those samples, by unit, of which not all say the same."""
    return {
        unit: words
        for unit, words in said.items()
        if len(words) > 1 and agree([Said(who, None, label) for who, label in words.items()]).disagreement
    }


def people_section(campaigns: Sequence[Told], look_at: LookAt, album: Album) -> Html:
    """Return how much each person labelled, and what they disagree on; empty where the data answered themselves."""
    parts: list[Html] = []
    left = MOST_SHOWN
    for place, campaign in enumerate(campaigns, 1):
        if campaign.answers_itself:
            continue
        said = {unit: said_last(campaign, unit) for unit, sample in campaign.standing.samples.items() if sample.said}
        who = Counter(person for words in said.values() for person in words)
        if not set(who) - {DATASET}:
            continue
        differ = disagreements(said)
        title = [tag("h3", campaign.name)] if len(campaigns) > 1 else []
        rows = [["annotator", "samples", "skipped", "alone", "disagrees with others"]]
        for person, count in who.most_common(_MOST_PEOPLE):
            of_person = [words for words in said.values() if person in words]
            skips = sum(words[person] is SKIP for words in of_person)
            alone = sum(len(words) == 1 for words in of_person)
            apart = sum(person in words for words in differ.values())
            rows.append([name_of(person or _NOBODY), str(count), str(skips), str(alone), str(apart)])
        more = f", {_MOST_PEOPLE} of {len(who)}" if len(who) > _MOST_PEOPLE else ""
        parts += [*title, table(rows, f"Who labelled{more}, with their last word on each sample", name=None)]
        parts += _pairs(said, f"agreement-{place}")
        shown = list(differ.items())[: max(left, 0)]
        left -= len(shown)
        if not differ:
            several = sum(len(words) > 1 for words in said.values())
            alike = f"All of the {several} samples that several people labelled have one label." if several else ""
            parts.append(tag("p", alike or "Nobody labelled a sample that somebody else labelled too.", class_="note"))
            continue
        kept = f", {len(shown)} of them below" if len(shown) < len(differ) else ""
        parts.append(tag("h4", f"{len(differ)} sample{'s' * (len(differ) != 1)} that people disagree on{kept}"))
        tiles = []
        for unit, words in shown:
            lines = [tag("span", name_of(one or _NOBODY), ": ", name_of(said_in_words(v))) for one, v in words.items()]
            tiles.append(sample_tile(campaign, unit, look_at(campaign, unit), album, more=lines))
        parts.append(tag("div", *tiles, class_="tiles large"))
    return section("Who labelled, and where they disagree", *parts, name="people")


def _pairs(said: Mapping[int, dict[str, Any]], name: str) -> list[Html]:
    """Return how often every two people say the same of the samples that both labelled."""
    both: Counter[tuple[str, str]] = Counter()
    same: Counter[tuple[str, str]] = Counter()
    for words in said.values():
        for one, other in combinations(sorted(words), 2):
            both[one, other] += 1
            same[one, other] += meaning(words[one]) == meaning(words[other])
    if not both:
        return []
    rows: list[list[Any]] = [["annotators", "samples of both", "the same", "share"]]
    for (one, other), count in both.most_common(_MOST_PEOPLE):
        alike = same[one, other]
        rows.append(
            [tag("span", name_of(one), " and ", name_of(other)), str(count), str(alike), f"{alike / count:.0%}"]
        )
    return [table(rows, "How often two people say the same", name=name)]
