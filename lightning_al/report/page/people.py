"""Who labelled what, and where annotators disagree."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from lightning_al.oracle.people.agreement import Said, agree
from lightning_al.oracle.skip import DATASET, SKIP
from lightning_al.report.page.markup import Html, name_of, section, table, tag
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


def disagreements(campaign: Told) -> dict[int, dict[str, Any]]:
    """Return what each person said of the samples on which not all say the same, by unit."""
    found = {}
    for unit, sample in campaign.standing.samples.items():
        if len({each.annotator for each in sample.said[sample.before :]}) < 2:
            continue
        said = said_last(campaign, unit)
        if agree([Said(who, None, label) for who, label in said.items()]).disagreement:
            found[unit] = said
    return found


def people_section(campaigns: Sequence[Told], look_at: LookAt, album: Album) -> Html:
    """Return how much each person labelled, and what they disagree on; empty where the data answered themselves."""
    parts: list[Html] = []
    left = MOST_SHOWN
    for campaign in campaigns:
        standing = campaign.standing
        who = Counter(person for unit in standing.samples for person in said_last(campaign, unit))
        if not set(who) - {DATASET}:
            continue
        differ = disagreements(campaign)
        title = [tag("h3", campaign.name)] if len(campaigns) > 1 else []
        rows = [["annotator", "samples", "skipped", "alone", "disagrees with others"]]
        for person, count in who.most_common(_MOST_PEOPLE):
            of_person = [said for unit in standing.samples if person in (said := said_last(campaign, unit))]
            skips = sum(said[person] is SKIP for said in of_person)
            alone = sum(len(said) == 1 for said in of_person)
            apart = sum(person in said for said in differ.values())
            rows.append([name_of(person or _NOBODY), str(count), str(skips), str(alone), str(apart)])
        more = f", {_MOST_PEOPLE} of {len(who)}" if len(who) > _MOST_PEOPLE else ""
        parts += [*title, table(rows, f"Who labelled{more}, with their last word on each sample", name=None)]
        parts += _pairs(campaign)
        shown = list(differ.items())[: max(left, 0)]
        left -= len(shown)
        if not differ:
            several = sum(len(said_last(campaign, unit)) > 1 for unit in standing.samples)
            words = f"All of the {several} samples that several people labelled have one label." if several else ""
            parts += [tag("p", words or "Nobody labelled a sample that somebody else labelled too.", class_="note")]
            continue
        kept = f", {len(shown)} of them below" if len(shown) < len(differ) else ""
        parts.append(tag("h4", f"{len(differ)} sample{'s' * (len(differ) != 1)} that people disagree on{kept}"))
        tiles = []
        for unit, said in shown:
            lines = [
                tag("span", name_of(person or _NOBODY), ": ", name_of(said_in_words(v))) for person, v in said.items()
            ]
            tiles.append(sample_tile(campaign, unit, look_at(campaign, unit), album, more=lines))
        parts.append(tag("div", *tiles, class_="tiles large"))
    return section("Who labelled, and where they disagree", *parts, name="people")


def _pairs(campaign: Told) -> list[Html]:
    """Return how often every two people say the same of the samples that both labelled."""
    both: Counter[tuple[str, str]] = Counter()
    same: Counter[tuple[str, str]] = Counter()
    for unit in campaign.standing.samples:
        said = said_last(campaign, unit)
        for one, other in combinations(sorted(said), 2):
            both[one, other] += 1
            same[one, other] += meaning(said[one]) == meaning(said[other])
    if not both:
        return []
    rows: list[list[Any]] = [["annotators", "samples of both", "the same", "share"]]
    for (one, other), count in both.most_common(_MOST_PEOPLE):
        alike = same[one, other]
        rows.append(
            [tag("span", name_of(one), " and ", name_of(other)), str(count), str(alike), f"{alike / count:.0%}"]
        )
    return [table(rows, "How often two people say the same", name="agreement")]
