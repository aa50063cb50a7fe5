"""``lightning-al report``: campaigns as one HTML file, with the samples that their projects have."""

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning_al.campaign.saved import CONFIG
from lightning_al.report.page.page import written


def report(options: argparse.Namespace) -> None:
    """Run ``lightning-al report``.

    Raises:
        FileNotFoundError: If there is no campaign in a folder, or no such file of a project.
        ValueError: If no campaign can be read, or an option does not fit them.
    """
    missing = [file for file in options.config or () if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(f"There is no file {missing[0]}.")
    with contextlib.ExitStack() as stack:
        found = written(
            options.folders,
            options.output,
            None if options.no_data else _opener(options.config, stack),
            metric=options.metric,
            baseline=options.baseline,
            lower_is_better=options.lower_is_better,
        )
    print(*found.verdict, sep="\n")
    if found.notes and not options.no_data:
        more = f" (So it is of {len(found.notes) - 1} more.)" if len(found.notes) > 1 else ""
        print(f"\n{found.notes[0]}{more}")
    print(f"\nReport: {found.path} ({found.path.stat().st_size / 1e6:.1f} MB)")


def _opener(files: Sequence[str] | None, stack: contextlib.ExitStack) -> Callable[[Path], AbstractContextManager[Any]]:
    """Return what opens the data of a campaign; those of one project are opened once."""
    opened: dict[tuple[str, str], Any] = {}

    @contextlib.contextmanager
    def open_data(folder: Path) -> Iterator[Any]:
        paths = [Path(file) for file in files] if files else [folder / CONFIG]
        if not paths[0].is_file():
            raise FileNotFoundError(
                f"{folder} has no {CONFIG}, which `lightning-al run` and `ask` write, and Python does not: give the "
                "project's files, `-c FILE`, or write it from Python, `lightning_al.report.write_html(FOLDER, "
                "datamodule=...)`"
            )
        from lightning_al._compat import quiet_infos  # which imports torch, as the others
        from lightning_al.cli.project_data import data_of
        from lightning_al.report.page.samples import open_samples

        with _quietly(), quiet_infos():
            project = data_of(paths)
            same = project.name, project.pool
            if same not in opened:
                samples = open_samples(project.datamodule, task=project.task, pool=project.pool, oracle=project.oracle)
                opened[same] = stack.enter_context(samples)
        yield opened[same]

    return open_data


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what Lightning says, and turn what the parser says into an error.

    Raises:
        ValueError: In place of an exit, with the last line of what was said.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the user's own modules, as `lightning-al run` finds them
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit:
        lines = [line.strip() for line in said.getvalue().splitlines() if line.strip()]
        raise ValueError(lines[-1] if lines else "the project's files cannot be read") from None
