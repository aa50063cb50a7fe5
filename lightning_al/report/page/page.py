"""The page: campaigns read, looked at and written as one file."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from lightning_al.campaign.secrets import text_without_secrets
from lightning_al.campaign.versions import versions
from lightning_al.drawing.markup import Html, joined, paragraphs, tag
from lightning_al.report.alignment import BASELINE, Aligned, align, split_full_data
from lightning_al.report.comparison import pairwise_of
from lightning_al.report.page.comparing import curves_section, methods_section
from lightning_al.report.page.covered import coverage_section
from lightning_al.report.page.people import people_section
from lightning_al.report.page.picks import picks_section, scores_section
from lightning_al.report.page.pictures import Album, Look
from lightning_al.report.page.reading import (
    Read,
    Told,
    curves_in,
    metric_names,
    read_campaigns,
    time_of,
    without_the_late,
)
from lightning_al.report.page.running import rounds_section, seconds_section
from lightning_al.report.page.setting import settings_section, warnings_section
from lightning_al.report.page.style import css, script
from lightning_al.report.page.verdict import verdict_of_methods, verdict_of_one, verdict_of_repeats
from lightning_al.storage.files import atomic_write
from lightning_al.words import cut, did_you_mean, first_line, shown

PAGE = "report.html"
"""What the file is called where nobody says."""

MOST_BYTES = 3_000_000
"""Of the file; pictures are as small as it takes."""

_SPARE = 20_000  # bytes of the page that may be more than counted
_MOST_SHOWN = 6  # methods whose picks are shown
_MADE_BY = "lightning-al report"

OpenData = Callable[[Path], AbstractContextManager[Any]]
"""Opens the data of the campaign in a folder; raises if they cannot be reached."""


def write_html(
    folders: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    metric: str | None = None,
    baseline: str | None = None,
    lower_is_better: bool | None = None,
    datamodule: Any = None,
    task: Any = None,
    pool: str = "auto",
    oracle: Any = None,
    open_data: OpenData | None = None,
) -> Path:
    """Write what became of campaigns as one HTML file that needs nothing else: no network, no other file.

    In it: the result in words, learning curves with intervals, methods beside each other, what was asked and when, the
    picks as images or texts, their scores beside those of all, what the labels cover, what annotators disagree on,
    seconds and cost, settings and versions, and warnings.

    Args:
        folders: Campaigns, or folders that they lie below: of ``runs/demo`` all that are in it. Repeats of a method are
            side by side in a folder that is called after it, as for :func:`~lightning_al.report.compare`.
        output: The file. Default: ``report.html`` in the folder; of several in the one that they all lie in. A report
            that is there is replaced, and no other file.
        metric: The main one. Default: that with "acc" in its name; else the first of which more is better.
        baseline: Method that others are compared with. Default: ``random``.
        lower_is_better: Whether less of the metric is better. Default: if its name is that of an error or a loss.
        datamodule: The project's, for pictures. Default: keys stand in their place.
        task: As the loop's, with ``datamodule``. Default: classification.
        pool: As the loop's, with ``datamodule``.
        oracle: As the loop's, with ``datamodule``: a simulated one knows the classes of the whole pool. Default: they
            are the data's own.
        open_data: Opens the data of each campaign, in place of ``datamodule``.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If there is no campaign in a folder.
        ValueError: If none can be read, or there is no such metric or baseline.
        FileExistsError: If a file that is no report has that name.
        OSError: If it cannot be written.
    """
    options = {"metric": metric, "baseline": baseline, "lower_is_better": lower_is_better}
    if datamodule is not None:
        open_data = _opener(datamodule, task, pool, oracle)
    return written(folders, output, open_data, **options).path


class Written(NamedTuple):
    """A report that was written.

    Args:
        path: The file.
        verdict: The result in words.
        notes: What kept samples from being shown.
    """

    path: Path
    verdict: list[str]
    notes: list[str]


def written(
    folders: str | Path | Sequence[str | Path], output: str | Path | None, open_data: OpenData | None, **options: Any
) -> Written:
    """Write a report; arguments as of :func:`write_html`."""
    every = [Path(folders)] if isinstance(folders, (str, Path)) else [Path(folder) for folder in folders]
    if not every:
        raise ValueError("A report is of at least one folder with a campaign.")
    read = read_campaigns(every)
    path = read.root / PAGE if output is None else Path(output)
    check_replaceable(path)
    with contextlib.ExitStack() as stack:
        data = _Data(open_data, stack)
        page, verdict = _page(read, data, **options)
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", "replace"))
    return Written(path, verdict, data.notes)


def check_replaceable(path: Path) -> None:
    """Refuse to write over a file that is no report.

    Raises:
        FileExistsError: Naming it.
        IsADirectoryError: If it is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file, as {path / PAGE}.")
    if path.exists():
        with path.open("rb") as file:
            if _MADE_BY.encode() not in file.read(2000):
                raise FileExistsError(f"{path} is there already, and is no report. Name another file.")


def _opener(datamodule: Any, task: Any, pool: str, oracle: Any) -> OpenData:
    def open_(folder: Path) -> AbstractContextManager[Any]:
        from lightning_al.report.page.samples import open_samples  # which imports torch

        return open_samples(datamodule, task=task, pool=pool, oracle=oracle)

    return open_


class _Data:
    """The samples of campaigns, opened when they are first looked at.

    Args:
        open_data: Opens those of a folder; None: there are none.
        stack: Closes them.
    """

    def __init__(self, open_data: OpenData | None, stack: contextlib.ExitStack) -> None:
        self._open = open_data
        self._stack = stack
        self._samples: dict[Path, Any] = {}
        self.missing = 0
        self.problems: dict[str, None] = {}

    def of(self, campaign: Told) -> Any:
        """Return the samples of a campaign's pool, or None."""
        if self._open is None:
            return None
        if campaign.folder not in self._samples:
            try:
                samples = self._stack.enter_context(self._open(campaign.folder))
            except (Exception, SystemExit) as error:  # the user's project, of any kind
                samples = None
                self.problems[f"The data could not be opened: {cut(text_without_secrets(first_line(error)), 300)}"] = (
                    None
                )
            self._samples[campaign.folder] = samples
        return self._samples[campaign.folder]

    def look(self, campaign: Told, unit: int) -> Look | None:
        """Return what there is to see of a sample; None if nothing."""
        samples = self.of(campaign)
        if samples is None:
            return None
        sample = campaign.standing.samples.get(unit)
        place = samples.place(unit, None if sample is None else sample.key)
        look = None if place is None else samples.look(place)
        self.missing += look is None
        return look

    @property
    def notes(self) -> list[str]:
        """What is to be said of the data."""
        if self._open is None:
            return ["The data were not opened: keys stand in place of the samples."]
        texts = [f"{text}; keys stand in place of the samples." for text in self.problems]
        if self.missing:
            texts.append(f"{self.missing} samples were not found in the data or cannot be read; their keys stand here.")
        return texts


def _page(
    read: Read, data: _Data, *, metric: str | None, baseline: str | None, lower_is_better: bool | None
) -> tuple[str, list[str]]:
    """Return the page and the result in words."""
    names = metric_names(read.campaigns)
    if metric is not None and metric not in names:
        raise ValueError(
            f"No metric {shown(metric)}{did_you_mean(metric, names)} that all campaigns have; there are: "
            f"{cut(', '.join(names) or 'none')}."
        )
    main = metric or (names[0] if names else None)
    compared, late = without_the_late(read, baseline)
    curves, notes = curves_in(compared, main)
    notes += late
    methods, full_data = split_full_data(curves) if curves else (curves, {})
    aligned = None
    if methods:
        aligned = align(methods, baseline=baseline, lower_is_better=lower_is_better)
    elif baseline is not None:
        raise ValueError(f"There is nothing to compare with {shown(baseline)}: no campaign has metrics.")
    others = {name: curves_in(compared, name)[0] for name in names if name != main}
    firsts, left_out = _shown(read, aligned)
    album = Album()
    tiles = picks_section(firsts, data.look, album, lambda: [*data.notes, *left_out])
    people = people_section(read.campaigns, data.look, album)
    coverage = coverage_section(read, firsts, data.of)
    parts = [
        ("Learning curves", curves_section(methods, full_data, others, notes, metric=main)),
        ("Methods", methods_section(aligned) if aligned is not None else Html("")),
        ("Questions", rounds_section(read, firsts, main)),
        ("Picks", tiles),
        ("Scores", scores_section(firsts)),
        ("Coverage", coverage),
        ("People", people),
        ("Seconds and cost", seconds_section(read)),
        ("Warnings", warnings_section(read.campaigns, read.problems)),
        ("Settings", settings_section(firsts, read.campaigns)),
    ]
    verdict = _verdict(read, aligned, main)
    page = _document(read, verdict, [(name, part) for name, part in parts if part], album)
    return album.packed(page, MOST_BYTES - len(page.encode("utf-8", "replace")) - _SPARE), verdict


def _verdict(read: Read, aligned: Aligned | None, metric: str | None) -> list[str]:
    if len(read.campaigns) == 1:
        is_lower = aligned is not None and aligned.lower_is_better
        return verdict_of_one(read.campaigns[0], metric, lower_is_better=is_lower)
    if aligned is None:
        count = f"{len(read.campaigns)} campaigns of {len(read.methods)} methods"
        return [f"{count}, without a metric that all have: nothing is compared."]
    return verdict_of_methods(aligned) if len(aligned.values) > 1 else verdict_of_repeats(aligned)


def _shown(read: Read, aligned: Aligned | None) -> tuple[list[Told], list[str]]:
    """Return one campaign of each method, the one with the most rounds, and what is to be said of those left out.

    Of many methods the baseline is shown, and those that win most often.
    """
    firsts = {method: max(of, key=lambda each: len(each.rounds)) for method, of in read.methods.items()}
    if len(firsts) <= _MOST_SHOWN:
        return list(firsts.values()), []
    order = list(firsts)
    if aligned is not None and aligned.labels:
        best = pairwise_of([aligned], "mean")[0]
        order.sort(key=lambda m: best.index(m) if m in best else len(best))
        order.sort(key=lambda m: m != (aligned.baseline or BASELINE))
    kept = set(order[:_MOST_SHOWN])
    texts = [
        f"Shown are {len(kept)} of {len(firsts)} methods: the baseline, and those that beat others most often by the "
        "mean over the curve."
    ]
    return [each for method, each in firsts.items() if method in kept], texts


def _document(read: Read, verdict: Sequence[str], parts: Sequence[tuple[str, Html]], album: Album) -> str:
    methods = list(read.methods)
    title = methods[0] if len(methods) == 1 else read.root.resolve().name
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    version = versions().get("lightning-al", "")
    links = [tag("a", name, href=f"#{_id_of(part)}") for name, part in parts]
    sub = f"{len(read.campaigns)} campaign{'s' * (len(read.campaigns) != 1)}"
    sub += f", {len(methods)} methods: {cut(', '.join(methods), 300)}" if len(methods) > 1 else ""
    head = joined(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name="generator", content=f"{_MADE_BY} {version}"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("title", f"{title} · active learning"),
            tag("style", Html(css())),
        ]
    )
    body = joined(
        [
            tag(
                "header",
                tag("h1", title),
                tag("p", f"Active learning report · {sub} · made {time_of(made)}", class_="soft"),
                tag("div", paragraphs(verdict), class_="verdict", id="verdict"),
                tag("nav", *links, aria_label="Parts of this page"),
            ),
            tag("main", *(part for _, part in parts)),
            tag("footer", tag("p", _foot(version, len(album)))),
            tag("div", id="tip", role="presentation"),
            tag("script", Html(script())),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def _id_of(part: Html) -> str:
    return part.partition('id="')[2].partition('"')[0]


def _foot(version: str, pictures: int) -> str:
    return (
        f"Made by lightning-al {version}. All is in this file: it loads nothing. Charts say their numbers under the "
        f"mouse or a finger, and in the tables below them. It holds {pictures} pictures, as small as it takes."
    )
