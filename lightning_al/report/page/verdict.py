"""What a comparison means, in words."""

from collections.abc import Sequence
from statistics import fmean

from lightning_al.drawing.numbers import alike, number
from lightning_al.report.alignment import Aligned
from lightning_al.report.comparison import Difference, differences, labels_saved, ranked
from lightning_al.report.page.reading import Told, time_of
from lightning_al.report.statistics import FEWEST
from lightning_al.report.tables import LEVEL, decimals_of, signed

_MOST_NAMED = 8  # methods in one sentence


def verdict_of_methods(aligned: Aligned) -> list[str]:
    """Return what is to be concluded from methods beside each other; the first sentence is the answer.

    By the mean over the curve, over the seeds that both have, and the paired t-test after Holm's correction.
    """
    methods = [method for method, of in aligned.values.items() if of]
    if not aligned.labels or len(methods) < 2:
        return ["There are no two methods with label counts in common, so nothing is compared."]
    if aligned.baseline is None:
        return [
            _order(aligned, methods),
            "No baseline is named, so it is not tested which of them is better than that.",
        ]
    rows = differences(aligned, "mean")
    tested = [row for row in rows if row.t_holm is not None]
    if not tested:
        seeds = max((len(row.repeats) for row in rows), default=0)
        first = (
            f"Nothing can be concluded yet: with {seeds} seed{'s' * (seeds != 1)} in common chance alone makes "
            f"differences like these. It takes at least {FEWEST}."
        )
        return [first, _order(aligned, methods)]
    enough = [aligned.baseline, *(row.method for row in tested)]
    return [
        *_tested(aligned, tested),
        _order(aligned, enough),
        *_reached(aligned, enough),
        *_left_out([method for method in methods if method not in enough]),
        _limits(aligned, tested),
    ]


def _tested(aligned: Aligned, rows: Sequence[Difference]) -> list[str]:
    told = [row for row in rows if row.t_holm is not None and row.t_holm < LEVEL and row.mean is not None]
    better = [row for row in told if _is_better(aligned, row)]
    worse = [row for row in told if not _is_better(aligned, row)]
    neither = [row.method for row in rows if row not in told]
    baseline = aligned.baseline
    texts = []
    if better:
        texts.append(
            f"Choosing what to label paid here: {_named(aligned, better)} did better than {baseline} over the whole "
            "curve, beyond what chance explains."
        )
    elif worse and not neither:
        texts.append(f"{_capital(baseline)} wins here: every method did worse than it, beyond what chance explains.")
    else:
        texts += _of_none(baseline, rows[0].method if _is_better(aligned, rows[0]) else None)
    if worse and (better or neither):
        texts.append(f"Worse than {baseline}, beyond chance: {_named(aligned, worse)}.")
    if neither and (better or worse):
        texts.append(f"Not told apart from {baseline}: {', '.join(neither)}.")
    return texts


def _of_none(baseline: str | None, best: str | None) -> list[str]:
    """Say that no method is told apart from the baseline; of the best one, if its mean is better at all."""
    if best is None:
        return [
            f"{_capital(baseline)} wins here: it has the best mean, and no method is better than it beyond chance.",
            f"On a pool like this one {baseline} does as well as any, and costs nothing to compute.",
        ]
    return [
        f"It is open whether choosing what to label pays here: no method is better than {baseline} beyond chance.",
        f"The best difference to {baseline} is that of {best}; more seeds would tell whether that is luck.",
    ]


def _is_better(aligned: Aligned, row: Difference) -> bool:
    mean = row.mean or 0.0
    return mean < 0 if aligned.lower_is_better else mean > 0


def _named(aligned: Aligned, rows: Sequence[Difference]) -> str:
    digits = max(decimals_of([aligned]) - 1, 1)
    words = []
    for row in rows:
        low, high = row.interval or (0.0, 0.0)
        ends = f"95 % {signed(low, digits)} to {signed(high, digits)}"
        words.append(f"{row.method} ({signed(row.mean, digits)} {aligned.metric}, {ends})")
    return "; ".join(words) if len(words) != 2 else " and ".join(words)


def _left_out(methods: Sequence[str]) -> list[str]:
    return [f"Left out here, with fewer than {FEWEST} seeds: {', '.join(methods)}."] if methods else []


def _order(aligned: Aligned, methods: Sequence[str]) -> str:
    """Put methods in order by the mean over the curve, over the seeds that all of them have."""
    shared, means = ranked(aligned, methods, "mean")
    if not shared:
        return f"All {len(methods)} methods have no seed in common, so their means are in no order."
    every = {repeat for method in methods for repeat in aligned.values[method]}
    of = f", over the {len(shared)} of {len(every)} seeds that all have" if len(shared) < len(every) else ""
    text = alike(means.values())
    order = list(means)[:_MOST_NAMED]
    named = ", ".join(f"{method} {text(means[method])}" for method in order)
    more = f" and {len(methods) - len(order)} more" if len(methods) > len(order) else ""
    less = ", less is better" if aligned.lower_is_better else ""
    return f"Mean {aligned.metric} over the curve{of}{less}, best first: {named}{more}."


def _reached(aligned: Aligned, methods: Sequence[str]) -> list[str]:
    """Say what a method saves that gets where the baseline ends with the fewest labels."""
    rows = [row for row in labels_saved(aligned) if row.method in methods and row.method != aligned.baseline]
    first, last, digits = rows[0] if rows else None, aligned.labels[-1], decimals_of([aligned])
    if first is None or first.labels is None or first.saved is None or first.saved <= 0:
        return []
    return [
        f"{first.method} got where {aligned.baseline} ends ({first.target:.{digits}f} with {last:,} {aligned.counts}) "
        f"with {first.labels:,.0f}: {first.saved / last:.0%} fewer. ({first.reached} of {first.repeats} seeds do.)"
    ]


def _limits(aligned: Aligned, rows: Sequence[Difference]) -> str:
    seeds = max(len(row.repeats) for row in rows)
    return (
        f"This is one data set and one model, {aligned.labels[0]:,} to {aligned.labels[-1]:,} {aligned.counts}, "
        f"{seeds} seeds: it says what to expect of this project, and less of others."
    )


def _capital(name: str | None) -> str:
    return (name or "")[:1].upper() + (name or "")[1:]


def verdict_of_repeats(aligned: Aligned) -> list[str]:
    """Return what the repeats of one method came to, in words."""
    [(method, repeats)] = aligned.values.items()
    if not aligned.labels or not repeats:
        return [
            f"The campaigns of {method} have no label count in common, so there is no mean of them.",
            *aligned.notes,
        ]
    first, last = (fmean(float(values[place]) for values in repeats.values()) for place in (0, -1))
    span = f"{aligned.labels[0]:,} to {aligned.labels[-1]:,} {aligned.counts}"
    value = alike([first, last])
    ends = f"{aligned.metric} went from {value(first)} to {value(last)}"
    text = f"From {span}, {ends}, the mean of {len(repeats)} campaigns."
    return [text, "There is one method: nothing says yet whether another, or chance, would have done as well."]


ONE_SAYS_NOTHING = (
    "One campaign says nothing about its method: Random may do as well, and another seed otherwise. To know, run both "
    "over five seeds: `lightning-al sweep -c recipe.yaml --methods yours,random --seeds 0..4`."
)


def _of_course(
    metric: str, values: Sequence[float], classes: Sequence[str] | None, *, lower_is_better: bool
) -> list[str]:
    """Say where the trainings of one campaign did not get better, and where they do no more than guess."""
    texts = []
    first, last = values[0], values[-1]
    if len(values) > 1 and (last >= first if lower_is_better else last <= first):
        texts.append("It did not get better.")
    guess = 1 / len(classes) if classes else 0.0
    # What chance does to one training is seen in how far apart they are.
    if (
        len(classes or ()) > 1
        and "acc" in metric.lower()
        and last - guess <= max(values) - min(values)
        and last <= first
    ):
        texts.append(
            f"Guessing among {len(classes or ())} classes that are as many gives {number(guess)}, and the last "
            "training is no farther above it than the trainings are from each other: it may be at chance. Train longer "
            "(`min_epochs`, `max_steps`), or begin with more labels."
        )
    return texts


def verdict_of_one(campaign: Told, metric: str | None, *, lower_is_better: bool = False) -> list[str]:
    """Return where one campaign stands, in words, and that it says nothing of its method."""
    standing, rounds = campaign.standing, campaign.rounds
    labelled, pending = len(standing.units("labelled")), len(standing.units("pending"))
    texts = []
    known = [result for result in rounds if metric is not None and metric in result.metrics]
    if known and metric is not None:
        first, last = known[0], known[-1]
        value = alike([first.metrics[metric], last.metrics[metric]])
        counted = f"{number(first.amount)} to {number(last.amount)} {last.counts}"
        texts.append(
            f"From {counted}, {metric} went from {value(first.metrics[metric])} to {value(last.metrics[metric])} in "
            f"{len(known)} trainings."
            if len(known) > 1
            else f"With {number(last.amount)} {last.counts} {metric} is {number(last.metrics[metric])}."
        )
        values = [float(result.metrics[metric]) for result in known]
        texts += _of_course(metric, values, campaign.standing.classes, lower_is_better=lower_is_better)
        texts.append(ONE_SAYS_NOTHING)
    else:
        texts.append("No round is finished yet." if not rounds else "The campaign records no metrics.")
    share = f" ({labelled / standing.size:.1%})" if standing.size else ""
    before = campaign.labelled_before
    beside = f", beside {before:,} that were labelled before" if before else ""
    texts.append(f"{labelled:,} of {standing.size:,} samples of the pool are labelled{share}{beside}.")
    if pending:
        texts.append(
            f"{pending:,} sample{'s are' if pending != 1 else ' is'} asked for and not answered yet: the campaign is "
            "waiting for people."
        )
    texts.append(f"Last event: {time_of(standing.last_time)}.")
    return texts
