"""``lightning-al tell``: labels from files into a campaign's ledger, without torch where the ledger says enough."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_al.campaign.told import TELL, NeedsProject, Problems, Told, tell_campaign
from lightning_al.cli.ending import refuse
from lightning_al.cli.options import CommandParser, read_beside_recipe
from lightning_al.cli.recipe import folder_of
from lightning_al.oracle.people.agreement import AGREEMENTS
from lightning_al.oracle.people.files.entries import Reading
from lightning_al.oracle.people.files.formats import FORMATS, read_labels


def tell_parser() -> argparse.ArgumentParser:
    """Return what reads the command line of ``tell``."""
    parser = CommandParser(
        prog="lightning-al tell",
        description="Take labels from files: all of them, or nothing. What the campaign knows already is passed over.",
        usage="lightning-al tell (-c recipe.yaml | FOLDER) LABELS [LABELS ...] [options]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="The campaign's folder, unless -c says it; then files of labels: .csv, .jsonl, .json (COCO), or a folder "
        "of XML (VOC) or PNG (masks).",
    )
    parser.add_argument("-c", "--config", action="append", default=[], help="The recipe; more of them as for `ask`.")
    parser.add_argument("--loop.dirpath", dest="dirpath", help="The campaign's folder, where the recipe has another.")
    parser.add_argument("--loop.seed", dest="seed", type=int, help="The seed, where the recipe has another.")
    parser.add_argument("--format", choices=FORMATS, help="What the files are. Default: as their suffixes say.")
    parser.add_argument("--annotator", default=TELL, help="Who labelled what no column `annotator` says.")
    parser.add_argument(
        "--agreement",
        choices=AGREEMENTS,
        default="latest",
        help="Which label counts where several people gave one. Default: latest.",
    )
    parser.add_argument("--partial", action="store_true", help="Take what is right, and list the rest.")
    parser.add_argument(
        "--empty",
        action="store_true",
        help="Images without boxes are labelled so, and parts of images of which nothing is painted have no class. "
        "Default: they are not labelled yet.",
    )
    return parser


def tell(args: Sequence[str]) -> None:
    """Run ``lightning-al tell``.

    Args:
        args: The command line after ``tell``.

    Raises:
        SystemExit: With what is wrong, a line for each entry.
    """
    parser = tell_parser()
    options, others = read_beside_recipe(parser, args, own=("--loop.dirpath", "--loop.seed"))
    try:
        paths = list(options.paths)
        if options.config:
            dirpath = folder_of(options.config, dirpath=options.dirpath, seed=options.seed)
        elif len(paths) < 2:
            parser.error("name the campaign's folder (or -c recipe.yaml) and then files of labels.")
        else:
            dirpath = Path(paths.pop(0))
        readings = [read_labels(path, options.format, empty=options.empty) for path in paths]
        told = _tell(dirpath, readings, options, others)
    except (ValueError, OSError, ImportError) as error:
        refuse(error)
    if told.problems:
        print(Problems(told.problems, "the others were"), file=sys.stderr)
    print(f"{told}; {dirpath}")


def _tell(dirpath: Path, readings: list[Reading], options: argparse.Namespace, others: list[str]) -> Told:
    choices = {"annotator": options.annotator, "agreement": options.agreement, "partial": options.partial}
    try:
        return tell_campaign(dirpath, readings, **choices)
    except NeedsProject:
        if not options.config:
            raise
    from lightning_al.cli.tell_project import tell_project

    words = [word for file in options.config for word in ("-c", file)] + others
    words += [f"--loop.dirpath={dirpath}"] + ([] if options.seed is None else [f"--loop.seed={options.seed}"])
    return tell_project(words, dirpath, readings, **choices)
