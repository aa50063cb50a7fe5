"""The command line: which commands there are, and what each is given."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line ``lightning-al``.

    Args:
        args: What is written after ``lightning-al``. Default: that of this process.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["run"]:  # its options are those of the user's classes, which LightningCLI reads
        from lightning_al.cli.run import run

        # Processes that Lightning launches read the command line of this one.
        return run(None if args is None else words)
    parser = _parser()
    options = parser.parse_args(words)
    if "command" not in options:
        return parser.print_help()
    return options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-al",
        description="Active learning for PyTorch Lightning.",
        epilog="`lightning-al COMMAND --help` lists the options of each.",
    )
    parser.add_argument("--version", action="version", version=version("lightning-al"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="Run a campaign from YAML and flags: run -c recipe.yaml [--resume] [--loop.seed 1]")
    _add_compare(commands)
    return parser


def _add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "compare",
        help="Tables and a picture of the learning curves below a folder: compare runs/",
        description="Compare the campaigns below a folder: print tables, write a picture of the learning curves.",
    )
    parser.add_argument(
        "root", help="Folder to search. ROOT/saal/seed_0, ROOT/saal/seed_1, ... repeat the method saal."
    )
    parser.add_argument(
        "--metric", help='Which metric. Default: the only one with "acc" in its name, else the only one.'
    )
    parser.add_argument("--output", help="File of the picture. Default: ROOT/curves.png.")
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    from lightning_al.report.compare import compare

    try:
        compare(options.root, options.metric, options.output)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
