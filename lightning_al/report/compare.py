"""Campaigns below a folder, compared: tables, pictures, and files of the numbers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_al.report.alignment import MEASURES, Aligned, align, split_full_data
from lightning_al.report.comparison import differences, labels_saved, pairwise_of
from lightning_al.report.curves import Curves, load_curves
from lightning_al.report.exports import pairwise_as_dict, pairwise_rows, write_comparison, write_json
from lightning_al.report.plots import plot, plot_pairwise
from lightning_al.report.tables import (
    class_table,
    differences_table,
    full_data_line,
    on_best,
    on_tests,
    pairwise_tables,
    reach_table,
    seconds_table,
    table,
    too_few_cases,
)
from lightning_al.storage.files import write_csv
from lightning_al.words import WHY_NO_METRICS, shown


def compare(
    root: str | Path | Sequence[str | Path],
    metric: str | None = None,
    output: str | Path | None = None,
    *,
    baseline: str | None = None,
    wins_by: str = "mean",
    lower_is_better: bool | None = None,
) -> None:
    """Compare the campaigns below a folder: print tables, write pictures and files of the numbers.

    Prints, of the methods:

    - the metric by number of labels, its last round, mean over the curve, and maximum over rounds (:func:`table`); the
      maximum is chosen on the evaluated data, hence optimistic;
    - median seconds per round;
    - by each of these three measures, the differences to the baseline over the seeds that both have, with 95 % t
      intervals, paired t-tests and exact Wilcoxon signed-rank tests, both with Holm's correction over the methods;
    - the labels that take each method where the baseline ends;
    - in which share of the cases each method beats each other one, and by how much it is better [SAAL, Fig. 13];
    - the metric of each class, where campaigns recorded those.

    Only label counts and seeds that all, or both, have are compared, and what is left out is said. With fewer than five
    seeds there are no p-values, and it is said that nothing can be concluded. Campaigns in a folder `full_data`,
    trained on all labels, are a line in the picture. Of campaigns without metrics there are the seconds alone.

    Args:
        root: Folder to search. `ROOT/saal/seed_0`, `ROOT/saal/seed_1`, ... are repeats of the method `saal`. Of several
            folders, as of several datasets, each is compared; then methods beside each other over the cases of all.
        metric: Which metric. Default: of those that all campaigns record the first with "acc" in its name, else the
            first of which more is better, else the first; where there were others, it is said.
        output: File of the picture. Default: `ROOT/curves.png`; of several folders `pairwise.png` in the one that they
            all lie in. Other files are named after it: `curves.json`, `curves.csv`, `curves_differences.csv`,
            `curves_pairwise.csv`, `curves_pairwise.png`, `curves_labels_saved.csv`, `curves_classes.csv`.
        baseline: Method that others are compared with. Default: `random`.
        wins_by: By what the printed matrices, and the pictures of them, compare: `"last"`, `"mean"` or `"best"` (the
            maximum over rounds, as in SAAL's tables). Files have all three.
        lower_is_better: Whether less of the metric is better. Default: if its name is that of an error or a loss.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If campaigns share no metric, repeats of one method share no label count, no method is the
            baseline, or several folders have different metrics.
        ImportError: If matplotlib is missing; tables are printed and numbers written before.
    """
    if wins_by not in MEASURES:
        raise ValueError(f"`wins_by` must be one of {', '.join(MEASURES)}, got {shown(wins_by)}.")
    roots = [str(each) for each in ([root] if isinstance(root, (str, Path)) else root)]
    loaded = {each: load_curves(each, metric) for each in roots}
    metrics = dict.fromkeys(name for curves in loaded.values() if (name := _metric(curves)) is not None)
    if len(metrics) > 1:
        raise ValueError(f"The folders have different metrics: {', '.join(metrics)}. Give `metric=` (`--metric`).")
    compared: dict[str, _Compared] = {}
    for folder, curves in loaded.items():
        if _metric(curves) is not None:
            methods, full_data = split_full_data(curves)
            aligned = align(methods, baseline=baseline, lower_is_better=lower_is_better)
            picture = Path(folder) / "curves.png" if output is None or len(roots) > 1 else _with_suffix(output)
            compared[folder] = _Compared(methods, full_data, aligned, picture)
    for folder, curves in loaded.items():
        if len(roots) > 1:
            print(f"# {folder}\n")
        if folder in compared:
            compared[folder].print_tables(wins_by)
            compared[folder].write_numbers()
        else:
            print(f"No metrics were recorded, so there are seconds alone: {WHY_NO_METRICS}.\n")
            print(seconds_table(curves))
        print()
    if len(compared) > 1 and any(each.has_pairs for each in compared.values()):
        common = Path(os.path.commonpath([Path(folder).resolve() for folder in compared])) / "pairwise.png"
        together = common if output is None else _with_suffix(output)
        _print_all([each.aligned for each in compared.values()], wins_by, together)
    for each in compared.values():
        each.draw(wins_by)


def _metric(curves: Curves) -> str | None:
    return next(iter(curves.values()))[0].metric


def _with_suffix(output: str | Path) -> Path:
    return Path(output) if Path(output).suffix else Path(output).with_suffix(".png")


def _beside(picture: Path) -> Path:
    """Return the file of the picture of pairs beside that of the curves."""
    return picture.with_name(f"{picture.stem}_pairwise{picture.suffix}")


@dataclass(frozen=True)
class _Compared:
    """The methods of one folder, and where their picture goes."""

    curves: Curves
    full_data: Curves
    aligned: Aligned
    picture: Path

    @property
    def has_pairs(self) -> bool:
        """Whether there are methods beside each other."""
        return bool(self.aligned.labels) and len(self.aligned.values) > 1

    @property
    def has_differences(self) -> bool:
        """Whether there are methods beside the baseline."""
        return self.has_pairs and self.aligned.baseline is not None

    def print_tables(self, wins_by: str) -> None:
        """Print all tables, each with what is to be said of it."""
        aligned = self.aligned
        print(table(self.curves, lower_is_better=aligned.lower_is_better))
        first = next(iter(self.curves.values()))[0]
        if first.others:
            print(f"\nBy {first.metric}; `metric=` (`--metric`) takes another: {', '.join(first.others)}.")
        print(f"\n{on_best(aligned)}")
        for name, repeats in self.full_data.items():
            print(f"\n{full_data_line(name, repeats)}")
        print(f"\n{seconds_table(self.curves)}")
        for note in aligned.notes:
            print(f"\n{note}")
        if not aligned.labels:
            return
        self._print_differences()
        if self.has_pairs:
            print(f"\n{pairwise_tables([aligned], wins_by)}")
            few = None if self.has_differences else too_few_cases([aligned], wins_by)  # whose seeds these cases are
            if few is not None:
                print(f"\n{few}")
        of_classes = class_table(self.curves, aligned.labels[-1])
        if of_classes is not None:
            print(f"\n{of_classes}")

    def _print_differences(self) -> None:
        aligned = self.aligned
        if not self.has_differences:
            return
        less = ", less is better" if aligned.lower_is_better else ""
        print(f"\nMethod - {aligned.baseline}, over the seeds that both have{less}:")
        rows = []
        for measure in MEASURES:
            rows = differences(aligned, measure)
            print(f"\n{differences_table(aligned, rows, measure)}")
        for remark in on_tests(rows):
            print(f"\n{remark}")
        reached = labels_saved(aligned)
        if reached:
            print(f"\n{reach_table(aligned, reached)}")

    def write_numbers(self) -> None:
        """Write what was printed, and more, as JSON and CSV."""
        written = write_comparison(self.curves, self.full_data, self.aligned, self.picture.with_suffix(""))
        print(f"\nNumbers: {', '.join([str(written[0]), *(path.name for path in written[1:])])}")

    def draw(self, wins_by: str) -> None:
        """Draw the curves, and methods beside each other where there are several."""
        if self.has_pairs:
            path = _beside(self.picture)
            _draw_pairs([self.aligned], wins_by, path)
            print(f"Methods beside each other: {path}")
        plot(self.curves, self.picture, self.full_data)
        print(f"Learning curves: {self.picture}")


def _draw_pairs(several: Sequence[Aligned], wins_by: str, path: Path) -> None:
    methods, matrices = pairwise_of(several, wins_by)
    plot_pairwise(methods, matrices, f"{several[0].label_of(wins_by)} ({several[0].metric})", path)


def _print_all(several: Sequence[Aligned], wins_by: str, path: Path) -> None:
    """Print, write and draw methods beside each other over the cases of several folders."""
    print(f"# All {len(several)} folders\n\n{pairwise_tables(several, wins_by)}")
    few = too_few_cases(several, wins_by)
    if few is not None:
        print(f"\n{few}")
    stem = path.with_suffix("")
    of_all = {several[0].label_of(measure): pairwise_as_dict(several, measure) for measure in MEASURES}
    numbers = write_json(stem.with_name(f"{stem.name}.json"), of_all)
    rows = [row for measure in MEASURES for row in pairwise_rows(several, measure)]
    lines = write_csv(stem.with_name(f"{stem.name}.csv"), rows)
    print(f"\nNumbers: {numbers}, {lines.name}")
    _draw_pairs(several, wins_by, path)
    print(f"Methods beside each other: {path}\n")
