"""Campaigns below a folder, compared: a table and a picture."""

from pathlib import Path

from lightning_al.report.curves import load_curves
from lightning_al.report.plots import plot
from lightning_al.report.tables import seconds_table, table


def compare(root: str, metric: str | None = None, output: str | None = None) -> None:
    """Compare the campaigns below a folder: print tables, write a picture of the learning curves.

    Prints the metric by number of labels (see :func:`table`) and the median seconds per round, for each method, and
    says where the picture is. Of campaigns without metrics there are the seconds alone.

    Args:
        root: Folder to search. `ROOT/saal/seed_0`, `ROOT/saal/seed_1`, ... are repeats of the method `saal`.
        metric: Which metric. Default: the only one with "acc" in its name, else the only one.
        output: File of the picture. Default: `ROOT/curves.png`.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If the metric cannot be chosen, or repeats of one method share no label count.
        ImportError: If matplotlib is missing; the tables are printed before.
    """
    curves = load_curves(root, metric)
    if next(iter(curves.values()))[0].metric is None:
        print("No metrics were recorded (`evaluate=None`), so there are seconds alone.\n")
        print(seconds_table(curves))
        return
    print(table(curves))
    print()
    print(seconds_table(curves))
    path = Path(root) / "curves.png" if output is None else Path(output)
    path = path if path.suffix else path.with_suffix(".png")
    plot(curves, path)
    print(f"\nLearning curves: {path}")
