"""Writes the tables and pictures of `docs/choosing.md` and the evidence on the pages of `docs/methods`.

    python docs/choosing.py                       # from docs/choosing/runs.csv
    python docs/choosing.py runs/fashion_mnist    # after reading the finished campaigns below it into that file

Campaigns are those of the page's `sweep` commands. Runs that the file has and the folder has not stay in the file,
so that methods may be added to it one by one.
"""

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
from PIL import Image

from lightning_al.report.alignment import Aligned, align
from lightning_al.report.comparison import Difference, differences, labels_saved
from lightning_al.report.curves import Curve, Curves, load_curves
from lightning_al.report.statistics import Spread
from lightning_al.report.tables import signed

matplotlib.use("agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
RUNS = DOCS / "choosing/runs.csv"
POOLS = {"small": "balanced", "small_long_tailed": "rare"}
IN_WORDS = {"balanced": "all classes are as many", "rare": "rare classes"}
DRAWN = ["random", "entropy", "margin", "badge", "saal", "saal_kmeans"]
PAGES = {  # methods by their recipes, on the pages of their classes
    "badge": ["badge"],
    "bald": ["bald"],
    "batch_bald": ["batch_bald"],
    "core_gcn": ["core_gcn"],
    "core_set": ["coreset"],
    "entropy": ["entropy", "entropy_kmeans"],
    "entropy_grad_norm": ["entropy_grad_norm"],
    "expected_grad_norm": ["expected_grad_norm"],
    "learning_loss": ["learning_loss", "learning_loss_kmeans"],
    "least_confidence": ["least_confidence"],
    "lplgrad": ["lplgrad"],
    "margin": ["margin"],
    "mc_dropout": ["mc_dropout"],
    "prob_cover": ["prob_cover"],
    "query_by_committee": ["query_by_committee"],
    "saal": ["saal", "saal_kmeans", "saal_badge", "saal_reverse"],
    "sraal": ["sraal_small"],
    "typiclust": ["typiclust"],
    "uncertain_gcn": ["uncertain_gcn"],
    "vaal": ["vaal_small"],
}


@dataclass(frozen=True)
class Pool:
    """All that was run in one pool: accuracies are in per cent."""

    name: str
    curves: Curves
    aligned: Aligned
    over_curve: dict[str, Difference]
    at_end: dict[str, Difference]

    @classmethod
    def of(cls, name: str, curves: Curves) -> "Pool":
        aligned = align(curves, baseline="random")
        over_curve, at_end = ({d.method: d for d in differences(aligned, measure)} for measure in ("mean", "last"))
        return cls(name, curves, aligned, over_curve, at_end)

    def spread(self, method: str, measure: str) -> Spread:
        return Spread.of(list(self.aligned.measured(method, measure).values()))

    @property
    def by_mean(self) -> list[str]:
        """The methods, the highest mean over the curve first."""
        return sorted(self.curves, key=lambda method: (-self.spread(method, "mean").mean, method))


def runs_of(folder: Path) -> Iterator[dict[str, str]]:
    """Read the campaigns that are finished: a line each."""
    for protocol, name in POOLS.items():
        curves = load_curves(folder / protocol, "test_acc")
        longest = max(len(curve.labels) for repeats in curves.values() for curve in repeats)
        for method, repeats in curves.items():
            for curve in repeats:
                if len(curve.labels) == longest:
                    accuracies = {str(n): f"{value:.4f}" for n, value in zip(curve.labels, curve.values, strict=True)}
                    seconds = f"{median(curve.query_seconds):.3f}"
                    yield {
                        "pool": name,
                        "method": method,
                        "seed": str(curve.seed),
                        "query_seconds": seconds,
                    } | accuracies


def key_of(run: dict[str, str]) -> tuple[str, str, int]:
    return run["pool"], run["method"], int(run["seed"])


def read_runs() -> dict[tuple[str, str, int], dict[str, str]]:
    with RUNS.open(newline="") as file:
        return {key_of(run): run for run in csv.DictReader(file)}


def write_runs(runs: dict[tuple[str, str, int], dict[str, str]]) -> None:
    ordered = [run for _, run in sorted(runs.items())]
    with RUNS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ordered[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


def read_pools() -> list[Pool]:
    """Return both pools, of all methods with five seeds."""
    pools: dict[str, Curves] = {name: {} for name in POOLS.values()}
    for (pool, method, seed), run in read_runs().items():
        counts = [column for column in run if column.isdigit()]
        curve = Curve(
            path=f"{pool}/{method}/seed_{seed}",
            metric="test_acc",
            labels=[int(count) for count in counts],
            values=[100 * float(run[count]) for count in counts],
            query_seconds=[float(run["query_seconds"])],
            seed=seed,
        )
        pools[pool].setdefault(method, []).append(curve)
    return [
        Pool.of(name, {method: repeats for method, repeats in curves.items() if len(repeats) == 5})
        for name, curves in pools.items()
    ]


def beside_random(difference: Difference) -> str:
    """Return "+1.2 (-0.1 to +2.5)", in bold where told apart after Holm's correction."""
    low, high = difference.interval
    said = f"{signed(difference.mean, 1)} ({signed(low, 1)} to {signed(high, 1)})"
    return f"**{said}**" if difference.t_holm < 0.05 else said


def table(pool: Pool) -> str:
    lines = [
        "| method | mean over curve | less Random (95 %) | at 220 labels | less Random (95 %) | seconds a query |",
        "|---|---|---|---|---|---|",
    ]
    for method in pool.by_mean:
        apart = [beside_random(d[method]) if method in d else "-" for d in (pool.over_curve, pool.at_end)]
        over_curve, at_end = (pool.spread(method, measure).text(1) for measure in ("mean", "last"))
        seconds = median(curve.query_seconds[0] for curve in pool.curves[method])
        lines.append(f"| {method} | {over_curve} | {apart[0]} | {at_end} | {apart[1]} | {seconds:.1f} |")
    return "\n".join(lines)


def labels_table(pools: list[Pool]) -> str:
    """Return how many labels each method needs for Random's accuracy of 220, in both pools."""
    reach = [{row.method: row for row in labels_saved(pool.aligned)} for pool in pools]
    methods = sorted(
        {method for rows in reach for method in rows} - {"random"},
        key=lambda method: (sum(rows[method].labels or 300 for rows in reach if method in rows), method),
    )
    lines = ["| method | " + " | ".join(IN_WORDS[pool.name] for pool in pools) + " |", "|---|---|---|"]
    for method in methods:
        cells = [
            f"{rows[method].labels:.0f}" if method in rows and rows[method].labels is not None else "-"
            for rows in reach
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def evidence(page: str, pools: list[Pool]) -> str:
    """Return what a method's page says of it: a line for each pool and each of its recipes."""
    lines = ["| Fashion-MNIST, five seeds | over the curve, less Random (95 %) | at 220 labels |", "|---|---|---|"]
    for pool in pools:
        for method in PAGES[page]:
            if method in pool.over_curve:
                over_curve, at_end = (beside_random(d[method]) for d in (pool.over_curve, pool.at_end))
                lines.append(f"| `{method}`, {IN_WORDS[pool.name]} | {over_curve} | {at_end} |")
    if len(lines) == 2:
        return "Not run with five seeds in our pools yet: nothing can be said of it here."
    return "\n".join(
        [*lines, "", "Test accuracy in points; bold: told apart. [Choosing](../choosing.md) has all methods."]
    )


def pages(pools: list[Pool]) -> dict[Path, str]:
    """Return the text of every page that has a part of the evidence, with that part filled in."""
    parts = {f"table of {pool.name}": table(pool) for pool in pools} | {"table of labels": labels_table(pools)}
    said = {DOCS / "choosing.md": parts}
    said |= {DOCS / f"methods/{page}.md": {"evidence": evidence(page, pools)} for page in PAGES}
    return {path: filled(path, parts) for path, parts in said.items()}


def filled(path: Path, parts: dict[str, str]) -> str:
    """Return a page with each part between the two comments that name its place."""
    text = path.read_text()
    for place, content in parts.items():
        begin, end = f"<!-- {place} -->\n", f"\n<!-- end of {place} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{path} must have the comments {begin.strip()!r} and {end.strip()!r} once each.")
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        text = re.sub(pattern, f"{begin}\n{content}\n{end}".replace("\\", "\\\\"), text, flags=re.DOTALL)
    return text


def save(figure, name: str) -> None:
    """Write a picture of few colours: small enough for a page."""
    path = DOCS / f"choosing/{name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_curves(pool: Pool) -> None:
    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    colours = matplotlib.color_sequences["tab10"]
    for number, method in enumerate(name for name in DRAWN if name in pool.curves):
        values = np.array(list(pool.aligned.values[method].values()))
        mean, labels = values.mean(0), pool.aligned.labels
        colour, width = ("0.25", 2.4) if method == "random" else (colours[number], 1.6)
        axes.plot(labels, mean, "--" if method == "random" else "-", color=colour, linewidth=width, label=method)
        if method in ("random", "saal"):
            error = values.std(0, ddof=1)
            axes.fill_between(labels, mean - error, mean + error, color=colour, alpha=0.13, linewidth=0)
    axes.set(
        xlabel="labelled samples", ylabel="test accuracy (%)", title=f"Fashion-MNIST, {IN_WORDS[pool.name]}, 5 seeds"
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(figure, pool.name)


def draw_differences(pools: list[Pool]) -> None:
    """Draw every method's difference to Random over the curve with its interval, both pools beside each other."""
    order = [method for method in pools[-1].by_mean if method != "random"][::-1]
    order = [method for pool in pools[:1] for method in pool.by_mean[::-1] if method not in {*order, "random"}] + order
    figure, both = plt.subplots(1, 2, figsize=(8.6, 0.26 * len(order) + 1.3), sharey=True, layout="constrained")
    for axes, pool in zip(both, pools, strict=True):
        for row, method in enumerate(order):
            if method not in pool.over_curve:
                continue
            difference = pool.over_curve[method]
            low, high = difference.interval
            colour = "tab:blue" if low > 0 else "tab:red" if high < 0 else "0.45"
            axes.plot([low, high], [row, row], color=colour, linewidth=1.6)
            axes.plot(difference.mean, row, "o", color=colour, markersize=4.5)
            axes.plot(difference.values, [row] * 5, "|", color="0.6", markersize=5, zorder=0)
        axes.axvline(0, color="0.2", linewidth=1)
        axes.set(title=IN_WORDS[pool.name].capitalize(), xlabel="mean over curve less Random's, points")
        axes.grid(axis="x", alpha=0.25)
        axes.set_ylim(-0.7, len(order) - 0.3)
    both[0].set_yticks(range(len(order)), order)
    save(figure, "differences")


def main() -> None:
    """Read new campaigns where a folder is given, then write all pages and pictures."""
    if len(sys.argv) > 1:
        write_runs((read_runs() if RUNS.exists() else {}) | {key_of(run): run for run in runs_of(Path(sys.argv[1]))})
    pools = read_pools()
    for path, text in pages(pools).items():
        path.write_text(text)
    for pool in pools:
        draw_curves(pool)
    draw_differences(pools)


if __name__ == "__main__":
    main()
