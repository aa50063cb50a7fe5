"""Which classes, values and kinds of samples were labelled."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lightning_al.drawing.markup import Html, details, prose, section, table, tag
from lightning_al.drawing.numbers import alike, number
from lightning_al.report.page.charts import Line, dot_chart, line_chart, said_alike
from lightning_al.report.page.coverage import (
    MOST_FEATURES,
    Clusters,
    class_counts,
    class_names_of,
    features_of,
    names_in,
    said_of,
    some_of,
)
from lightning_al.report.page.reading import Read, Told
from lightning_al.report.tables import thinned

_MOST_CLASSES = 24


def coverage_section(read: Read, shown: Sequence[Told], samples_of: Callable[[Told], Any]) -> Html:
    """Return class counts beside those of the pool, and which groups of samples have a label.

    Args:
        read: All campaigns.
        shown: One of each method.
        samples_of: Gives the samples of a campaign's pool, or None.
    """
    samples = next((found for each in shown if (found := samples_of(each)) is not None), None)
    parts = [*_classes(read, shown, samples), *_values(shown)]
    if samples is not None:
        parts += _clusters(shown, samples_of)
    before = _before(shown) if parts else []
    return section("What the labels cover", *before, *parts, name="coverage")


def _before(shown: Sequence[Told]) -> list[Html]:
    """Say it where there were labels that nobody was asked for: nothing here counts them."""
    counts = sorted({each.labelled_before for each in shown})
    if not counts[-1:] or not counts[-1]:
        return []
    many = f"{counts[-1]:,}" if len(counts) == 1 else f"up to {counts[-1]:,}"
    text = (
        f"Counted are labels that the campaign asked for, and classes among them. Not counted: the {many} that were "
        "there before, of the training set beside the pool."
    )
    return [tag("p", text, class_="note")]


def _classes(read: Read, shown: Sequence[Told], samples: Any) -> list[Html]:
    by_method: dict[str, list[Counter[str]]] = {}
    named: dict[str, dict[int, list[str]]] = {}
    for method, campaigns in read.methods.items():
        for each in campaigns:
            found = class_names_of(each.standing, each.standing.units("labelled"))
            if found:
                by_method.setdefault(method, []).append(class_counts(found))
                named[str(each.folder)] = found
    if not by_method:
        return []
    pool = _pool_classes(shown[0], samples)
    known_names = list(shown[0].standing.classes or [])
    every = set(pool or ()).union(*(count for counts in by_method.values() for count in counts))
    names = [*known_names, *sorted(every - set(known_names), key=lambda name: (len(name), name))]
    if not names:
        return []
    if pool:  # of which some are looked at, and may lack a rare class
        pool = {name: pool.get(name, 0.0) for name in names}
    means = {m: {name: fmean(count[name] for count in counts) for name in names} for m, counts in by_method.items()}
    order = sorted(names, key=lambda name: pool[name] if pool else fmean(of[name] for of in means.values()))
    kept = [order[i] for i in thinned(list(range(len(order))), _MOST_CLASSES)]
    labels = fmean(len(each.standing.units("labelled")) for each in read.campaigns)
    expected = [pool[name] * labels for name in kept] if pool else []
    lines = [
        Line(method, i, range(len(kept)), [of[name] for name in kept]) for i, (method, of) in enumerate(means.items())
    ]
    unit = "labelled samples" if shown[0].standing.kind == "class" else "labelled samples with the class"
    about = f"How many labels each class has, by method: {', '.join(means)}. The table below has the numbers."
    note = "as often as in the pool" if pool else ""
    chart = dot_chart([name[:40] for name in kept], lines, x=unit, about=about, expected=expected, note=note)
    head = ["class", *means, *(["in the pool"] if pool else [])]
    text = said_alike(lines)
    rows = [
        [name[:60], *(text(of[name]) for of in means.values()), *([f"{pool[name]:.1%}"] if pool else [])]
        for name in order
    ]
    shown_rows = [rows[i] for i in thinned(list(range(len(rows))), 200)]
    few = f", {len(kept)} of {len(order)} classes" if len(kept) < len(order) else ""
    covered = {method: fmean(_seen(count, names) for count in counts) for method, counts in by_method.items()}
    seen = "; ".join(f"{method}: {alike(covered.values())(mean)}" for method, mean in covered.items())
    return [
        tag("h3", "Classes"),
        chart,
        tag("p", f"The rarest first{few}. Classes with a label, of {len(names)}: {seen}.", class_="note"),
        details("The numbers", table([head, *shown_rows], f"{unit}, the mean over repeats", name="class-table")),
        *_seen_lines([(each, named.get(str(each.folder), {})) for each in shown], names),
    ]


def _seen(counts: Counter[str], names: Sequence[str]) -> int:
    return sum(counts[name] > 0 for name in names)


def _seen_lines(shown: Sequence[tuple[Told, dict[int, list[str]]]], names: Sequence[str]) -> list[Html]:
    """Return how many classes have a label after each question, where that is not all of them at once."""
    lines = []
    for style, (campaign, named) in enumerate(shown):
        x, y = [], []
        for units in campaign.labelled_after_each:
            x.append(float(len(units)))
            y.append(float(_seen(class_counts(named, units), names)))
        lines.append(Line(campaign.name, style, x, y))
    if len({value for line in lines for value in line.y}) < 2:
        return []
    about = f"How many of {len(names)} classes have a label, by number of labelled samples. See the table below."
    return [
        tag("h4", "Classes with a label"),
        line_chart(lines, x="labelled samples", y="classes", about=about),
        details("The numbers", _line_table(lines, "Classes with a label", number, "seen-table")),
    ]


def _line_table(lines: Sequence[Line], caption: str, text: Callable[[float], str], name: str) -> Html:
    rows = [["labelled samples", *(line.name for line in lines)]]
    at = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    for place in thinned(sorted({int(v) for line in lines for v in line.x}), 24):
        rows.append([f"{place:,}", *(text(of[place]) if place in of else "-" for of in at)])
    return table(rows, caption, name=name)


def _pool_classes(campaign: Told, samples: Any) -> dict[str, float] | None:
    """Return the share of the pool's samples that have each class, from some of them; None where it is not known."""
    if samples is None or not (campaign.answers_itself or (campaign.is_simulated and samples.knows_truth)):
        return None
    classes = campaign.standing.classes
    places = some_of(len(samples))
    counts: Counter[str] = Counter()
    for place in places:
        names = names_in(samples.own_label(place, classes), classes)
        if names is None:
            return None
        counts.update(names)
    return {name: counts[name] / len(places) for name in [*(classes or []), *counts]}


def _values(shown: Sequence[Told]) -> list[Html]:
    """Return the quartiles of labels that are numbers, by campaign."""
    quartiles: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for campaign in shown:
        found = [said_of(campaign.standing, unit) for unit in campaign.standing.units("labelled")]
        values = [value for value in found if isinstance(value, float)]
        if values:
            counts[campaign.name] = len(values)
            quartiles[campaign.name] = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    if not counts:
        return []
    text = alike(value for of in quartiles.values() for value in of)
    rows = [["labels that are numbers", "count", "least", "25 %", "median", "75 %", "most"]]
    rows += [[name, str(counts[name]), *map(text, of)] for name, of in quartiles.items()]
    return [tag("h3", "Values"), table(rows, "Quartiles of the labels", name="value-table")]


def _clusters(shown: Sequence[Told], samples_of: Callable[[Told], Any]) -> list[Html]:
    """Return which share of groups of alike samples has a label after each question, by campaign."""
    lines: list[Line] = []
    expected: Line | None = None
    count = 0
    clusters: dict[int, Clusters] = {}  # by the samples they are of
    compared_by: set[str] = set()
    for style, campaign in enumerate(shown):
        samples = samples_of(campaign)
        if samples is None:
            continue
        if id(samples) not in clusters:
            features = features_of(some_of(len(samples)), samples.features)
            if features is None:
                return []
            most = max(len(each.standing.units("labelled")) for each in shown)
            compared_by |= samples.compared_by
            clusters[id(samples)] = Clusters(features, max(min(most // 2, 50), 2))
        groups = clusters[id(samples)]
        x, y = _covered(campaign, samples, groups)
        if not x:
            continue
        count = len(groups.centres)
        lines.append(Line(campaign.name, style, x, y))
        if expected is None or len(x) > len(expected.x):
            expected = Line("at random, expected", 6 + 8, x, [groups.expected(int(n)) for n in x])
    if expected is None or len(set(expected.x)) < 2:
        return []
    drawn = [*lines, expected]
    about = (
        "Share of the groups of alike samples that have a label, by number of labelled samples. See the table below."
    )
    note = (
        f"Some samples of the pool were put into {count} groups by k-means, by {' or '.join(sorted(compared_by))}, "
        "and not by the model's features. A rough look at variety, and no score."
    )
    return [
        tag("h3", "Groups of alike samples"),
        line_chart(drawn, x="labelled samples", y="share of groups", about=about),
        tag("p", prose(note), class_="note"),
        details("The numbers", _line_table(drawn, "Share of groups with a label", "{:.0%}".format, "cluster-table")),
    ]


def _covered(campaign: Told, samples: Any, groups: Clusters) -> tuple[list[float], list[float]]:
    every = campaign.labelled_after_each[-1]
    if not every or len(every) > MOST_FEATURES:
        return [], []
    places = {unit: samples.place(unit, campaign.standing.samples[unit].key) for unit in every}
    there = [unit for unit in every if places[unit] is not None]
    features = features_of([places[unit] for unit in there], samples.features)
    if features is None:
        return [], []
    group_of = dict(zip(there, groups.of(features).tolist(), strict=True))
    x, y = [], []
    for units in campaign.labelled_after_each:
        x.append(float(len(units)))
        y.append(len({group_of[unit] for unit in units if unit in group_of}) / len(groups.centres))
    return x, y
