"""How diagnoses are drawn: curves over rounds, bars, maps and clouds of points."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_al.report.diagnostics.diagnosis import Draw

Points = tuple[Sequence[float], Sequence[float]]
Panel = dict[str, tuple[list[float], list[float]]]
"""Curves by name, as they are added to."""

_WIDTH, _HEIGHT = 4.2, 3.4  # inches of a panel
_PER_ROW = 3
_MOST_LETTERS = 45  # below a panel


def add_point(panel: Panel, name: str, x: float, y: float) -> None:
    """Add a point to the curve of this name."""
    xs, ys = panel.setdefault(name, ([], []))
    xs.append(x)
    ys.append(y)


def curves(panels: Mapping[str, Mapping[str, Points]], *, x: str, log: Sequence[str] = ()) -> Draw:
    """Return what draws a panel of curves for each title.

    Args:
        panels: The curves of each by name, as x and y.
        x: Name of the horizontal axis.
        log: Titles of the panels whose vertical axis is logarithmic.
    """
    colours = _colours_of(panels)

    def draw(figure: Any) -> None:
        for axes, (title, by_name) in zip(panels_of(figure, len(panels)), panels.items(), strict=True):
            for name, (xs, ys) in by_name.items():
                marker = "o" if len(xs) <= 15 else None
                axes.plot(xs, ys, marker=marker, markersize=3.5, linewidth=1.6, color=colours[name], label=name)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel(x)
            axes.xaxis.get_major_locator().set_params(integer=True)
            if title in log:
                axes.set_yscale("log")
            _plain(axes)
        _one_legend(figure)

    return draw


def clouds(panels: Mapping[str, Points], *, x: str, y: str, notes: Mapping[str, str] | None = None) -> Draw:
    """Return what draws a cloud of points for each title, with a note of each behind it."""

    def draw(figure: Any) -> None:
        for axes, (title, (xs, ys)) in zip(panels_of(figure, len(panels)), panels.items(), strict=True):
            axes.scatter(xs, ys, s=8, alpha=0.5, linewidths=0)
            note = (notes or {}).get(title)
            axes.set_title(title if note is None else f"{title}: {note}", fontsize=10)
            axes.set_xlabel(x)
            axes.set_ylabel(y)
            _plain(axes)

    return draw


def bars(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    groups: Sequence[str],
    *,
    x: str = "",
    apart: Sequence[str] = (),
) -> Draw:
    """Return what draws, for each title, bars side by side: one for each name in each of the groups.

    Args:
        panels: The heights by title and name.
        groups: What they are called.
        x: Name of the horizontal axis.
        apart: Titles of the panels whose heights are of another kind: all others have one scale.
    """
    colours = _colours_of(panels)

    def draw(figure: Any) -> None:
        # Upright where names would run into each other.
        rotation = 90 if len(groups) > 12 or sum(map(len, groups)) > _MOST_LETTERS else 0
        heights = [n for title, of in panels.items() if title not in apart for values in of.values() for n in values]
        for axes, (title, by_name) in zip(panels_of(figure, len(panels)), panels.items(), strict=True):
            width = 0.8 / max(len(by_name), 1)
            for number, (name, values) in enumerate(by_name.items()):
                places = [group - 0.4 + width * (number + 0.5) for group in range(len(values))]
                axes.bar(places, values, width, color=colours[name], label=name)
            axes.set_xticks(range(len(groups)), groups, fontsize=7, rotation=rotation)
            if title not in apart:
                axes.set_ylim(0, 1.05 * max(heights, default=0.0) or 1.0)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel(x)
            _plain(axes)
        _one_legend(figure)

    return draw


def surfaces(panels: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]) -> Draw:
    """Return what draws surfaces over two directions, all with the same levels: the same places, rows first."""

    def draw(figure: Any) -> None:
        highest = max(max(map(max, values)) for _, values in panels.values())
        lowest = min(min(map(min, values)) for _, values in panels.values())
        levels = [lowest + (max(highest - lowest, 1e-12)) * (step / 24) ** 2 for step in range(25)]  # finer below
        for axes, (title, (places, values)) in zip(panels_of(figure, len(panels)), panels.items(), strict=True):
            drawn = axes.contourf(places, places, values, levels=levels, cmap="viridis")
            axes.contour(places, places, values, levels=levels, colors="white", linewidths=0.3)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("second direction")
            axes.set_ylabel("first direction")
            axes.set_aspect("equal")
            figure.colorbar(drawn, ax=axes, shrink=0.8, format="%.2g")

    return draw


def groups_of_points(
    panels: Mapping[str, Mapping[str, Points]], names: Sequence[str] = (), *, last_on_top: bool = True
) -> Draw:
    """Return what draws points in colours by name, for each title, without axes; the last name's as stars.

    Args:
        panels: The points of each by name.
        names: All that may occur, in the order of their colours. Default: those that do.
        last_on_top: Whether the last name of each panel is of points among the others.
    """
    colours = _colours_of(panels, names)

    def draw(figure: Any) -> None:
        handles = {}
        for axes, (title, by_name) in zip(panels_of(figure, len(panels)), panels.items(), strict=True):
            for number, (name, (xs, ys)) in enumerate(by_name.items()):
                if last_on_top and number == len(by_name) - 1:
                    handles[name] = axes.scatter(xs, ys, s=26, marker="*", color="black", linewidths=0)
                else:
                    handles[name] = axes.scatter(xs, ys, s=7, alpha=0.7, linewidths=0, color=colours[name])
            axes.set_title(title, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
        shown = [name for name in colours if name in handles]
        figure.legend([handles[name] for name in shown], shown, loc="outside right center", frameon=False, fontsize=7)

    return draw


def _colours_of(panels: Mapping[str, Mapping[str, Any]], names: Sequence[str] = ()) -> dict[str, str]:
    """Return a colour for each name, the same in all panels, which may lack some of them."""
    known = dict.fromkeys([*names, *(name for by_name in panels.values() for name in by_name)])
    return {name: f"C{number}" for number, name in enumerate(known)}


def panels_of(figure: Any, count: int) -> list[Any]:
    """Divide a figure into panels, at most three in a row, and return them."""
    columns = 2 if count == 4 else min(count, _PER_ROW)
    rows = -(-count // columns)
    figure.set_size_inches(_WIDTH * columns + (1.2 if count == 1 else 0), _HEIGHT * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for spare in grid[count:]:
        spare.set_visible(False)
    return grid[:count]


def _one_legend(figure: Any) -> None:
    """Put one legend below all panels, of the names that are in any of them."""
    by_name: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        by_name.update(zip(names, handles, strict=True))
    if by_name:
        letters = int(14 * figure.get_size_inches()[0])  # that fit side by side, where each name has a line before it
        columns = max(1, min(len(by_name), 6, letters // (max(map(len, by_name)) + 7)))
        figure.legend(
            list(by_name.values()), list(by_name), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
        )


def _plain(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
