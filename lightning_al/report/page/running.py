"""What was asked and when, what it took in seconds, and what it cost."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean, median

from lightning_al.campaign.results import INITIAL_ROUND, PIXELS, QUERY
from lightning_al.drawing.markup import Html, details, section, table, tag
from lightning_al.drawing.numbers import alike, number
from lightning_al.report.page.charts import Bars, bar_chart
from lightning_al.report.page.reading import Asked, Read, Told, time_of, when
from lightning_al.report.tables import thinned

_MOST_ROUNDS = 60  # rows of a table
_MOST_BARS = 14
_STAGES = ("fit", "evaluate", *QUERY)


def rounds_section(read: Read, shown: Sequence[Told], metric: str | None) -> Html:
    """Return what each campaign asked for, round by round; of several seeds the one that is shown."""
    parts: list[Html] = []
    for place, campaign in enumerate(shown):
        rows = round_rows(campaign, metric)
        head, body = rows[0], rows[1:]
        kept = [body[i] for i in thinned(list(range(len(body))), _MOST_ROUNDS)]
        left_out = f" ({len(kept)} of {len(body)} rows)" if len(kept) < len(body) else ""
        cells = table([head, *kept], f"{campaign.name}: questions and answers{left_out}", name=f"rounds-{place + 1}")
        parts.append(cells if len(shown) == 1 else details(campaign.name, cells))
    return section("What was asked, and when", tag("p", _lead(read, len(shown)), class_="note"), *parts, name="rounds")


def _lead(read: Read, shown: int) -> str:
    count, methods = len(read.campaigns), len(read.methods)
    began = [time for each in read.campaigns if (time := each.times[0]) is not None]
    ended = [time for each in read.campaigns if (time := each.times[1]) is not None]
    span = f", from {time_of(min(began).isoformat())} to {time_of(max(ended).isoformat())}" if began and ended else ""
    of = f" of {methods} methods" if methods > 1 else ""
    return f"{count} campaign{'s' * (count != 1)}{of}{span}." + (
        " Below, one of each method that is shown: that with the most rounds." if count > shown else ""
    )


def round_rows(campaign: Told, metric: str | None) -> list[list[str]]:
    """Return a row for each question, and one for a last training without one."""
    standing = campaign.standing
    results = {result.round: result for result in campaign.rounds}
    unit = "pixels" if standing.counts == PIXELS else "labels"
    name = [] if metric is None else [metric]
    head = ["question", "asked at", f"{unit} before", *name, "asked for", "answered", "waiting", "skipped", "spent"]
    rows = [head]
    numbers = [question.round for question in campaign.asked]
    questions: list[tuple[int, Asked | None]] = [(question.round, question) for question in campaign.asked]
    questions += [(number_, None) for number_ in results if number_ not in numbers]
    samples = standing.samples
    asked = [[samples[unit_] for unit_ in each.units if unit_ in samples] if each else [] for _, each in questions]
    spent = list(accumulate(sum(sample.cost for sample in of) for of in asked))
    said_spent = alike(spent)
    said_value = alike(result.metrics[metric] for result in campaign.rounds if metric in result.metrics)
    for (number_, question), of, paid in zip(questions, asked, map(said_spent, spent), strict=True):
        result = results.get(number_)
        before = "0" if number_ == INITIAL_ROUND else "-" if result is None else number(result.amount)
        value = "-" if result is None or metric not in result.metrics else said_value(result.metrics[metric])
        if question is None:
            rows.append([f"round {number_}", "-", before, *([value] * len(name)), "-", "-", "-", "-", paid])
            continue
        states = [sample.state for sample in of]
        rows.append(
            [
                question.name,
                time_of(question.time),
                before,
                *([value] * len(name)),
                f"{len(question.units):,}",
                f"{states.count('labelled'):,}",
                f"{states.count('pending'):,}",
                f"{states.count('skipped'):,}",
                paid,
            ]
        )
    return rows


def tenths(seconds: float) -> str:
    """Return seconds as people read them: to a tenth.

    Example:
        >>> tenths(0.0001), tenths(0.25), tenths(71.96), tenths(12345.6), tenths(0.0)
        ('<0.1', '0.2', '72.0', '12,346', '0.0')
    """
    if 0 < seconds < 0.05:
        return "<0.1"
    return f"{seconds:,.1f}" if seconds < 1000 else f"{seconds:,.0f}"


def _seconds(value: float) -> str:
    return f"{tenths(value)} s"


def seconds_of(campaigns: Sequence[Told]) -> dict[str, float]:
    """Return the seconds of all rounds of a campaign by stage, the mean over campaigns; stages that ran."""
    sums = {
        stage: fmean(sum(result.seconds.get(stage, 0.0) for result in each.rounds) for each in campaigns)
        for stage in _STAGES
    }
    return {stage: value for stage, value in sums.items() if value > 0}


def seconds_section(read: Read) -> Html:
    """Return seconds per stage, and what labels cost."""
    finished = {method: [each for each in of if each.rounds] for method, of in read.methods.items()}
    finished = {method: of for method, of in finished.items() if of}
    parts: list[Html] = []
    if finished:
        if len(finished) == 1:
            campaign = next(iter(finished.values()))[0]
            rounds = [campaign.rounds[i] for i in thinned(list(range(len(campaign.rounds))), _MOST_BARS)]
            bars = [
                Bars(
                    f"round {each.round}",
                    {s: each.seconds[s] for s in _STAGES if each.seconds.get(s, 0.0) > 0},
                    _seconds,
                )
                for each in rounds
            ]
            what = f"Seconds of each stage, {campaign.name}"
            what += f", {len(rounds)} of {len(campaign.rounds)} rounds" if len(rounds) < len(campaign.rounds) else ""
        else:
            chosen = list(finished.items())[:_MOST_BARS]
            bars = [Bars(method, seconds_of(of), _seconds) for method, of in chosen]
            what = "Seconds of a whole campaign by stage, the mean over repeats"
            what += f"; {len(chosen)} of {len(finished)} methods" if len(chosen) < len(finished) else ""
        parts += [
            bar_chart(bars, x="seconds", about=f"{what}. The table below has the numbers."),
            tag("p", what + ".", class_="note"),
        ]
        parts.append(
            table(
                seconds_rows(finished),
                "Median seconds of a round by stage, and of whole campaigns",
                name="seconds-table",
            )
        )
    parts.append(table(cost_rows(read.methods), "What labels cost, the mean over repeats", name="cost-table"))
    waits = _waits(read)
    parts += [tag("p", waits, class_="note")] if waits else []
    return section("Seconds and cost", *parts, name="seconds")


def seconds_rows(methods: dict[str, list[Told]]) -> list[list[str]]:
    """Return the median seconds of each stage where it ran, and the mean of whole campaigns."""
    rows = [["method", *_STAGES, "whole campaign", "of which asking"]]
    for method, campaigns in methods.items():
        row = [method]
        for stage in _STAGES:
            known = [r.seconds[stage] for each in campaigns for r in each.rounds if r.seconds.get(stage, 0.0) > 0]
            row.append(tenths(median(known)) if known else "-")
        sums = seconds_of(campaigns)
        whole, asking = sum(sums.values()), sum(sums.get(stage, 0.0) for stage in QUERY)
        rows.append([*row, tenths(whole), f"{asking / whole:.0%}" if whole else "-"])
    return rows


def cost_rows(methods: dict[str, list[Told]]) -> list[list[str]]:
    """Return labels and what was spent on them, by method."""
    rows = [["method", "campaigns", "labelled", "skipped", "spent", "unit", "budget", "answers by"]]
    of_methods = [[each.standing for each in campaigns] for campaigns in methods.values()]
    labelled = [fmean(len(each.units("labelled")) for each in standings) for standings in of_methods]
    skipped = [fmean(len(each.units("skipped")) for each in standings) for standings in of_methods]
    spent = [fmean(each.spent for each in standings) for standings in of_methods]
    counts = zip(*(map(alike(means), means) for means in (labelled, skipped, spent)), strict=True)
    for method, standings, said in zip(methods, of_methods, counts, strict=True):
        first = standings[0].options
        rows.append(
            [
                method,
                str(len(standings)),
                *said,
                standings[0].counts,
                "-" if first.get("budget") is None else number(float(first["budget"])),
                str(first.get("oracle", "-")),
            ]
        )
    return rows


def _waits(read: Read) -> str | None:
    """Say how long people took to answer, where people answer."""
    seconds = []
    for campaign in read.campaigns:
        if campaign.answers_itself:
            continue
        asked = {unit: when(question.time) for question in campaign.asked for unit in question.units}
        for unit, sample in campaign.standing.samples.items():
            times = [time for said in sample.said if (time := when(said.time)) is not None]
            begun = asked.get(unit)
            if times and begun is not None:
                seconds.append((max(times) - begun).total_seconds())
    if not seconds:
        return None
    middle = median(seconds)
    for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if middle >= length:
            return f"From question to answer: {middle / length:.1f} {name}, the median of {len(seconds):,} answers."
    return f"From question to answer: {middle:.0f} seconds, the median of {len(seconds):,} answers."
