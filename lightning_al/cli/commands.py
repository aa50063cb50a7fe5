"""The command line: which commands there are, and what each is given."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning_al
from lightning_al.cli.ending import ends_with_its_reader, refuse
from lightning_al.cli.options import CommandParser
from lightning_al.cli.recipe_commands import Commands, add_recipe_commands


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line ``lightning-al``.

    Args:
        args: What is written after ``lightning-al``. Default: that of this process.
    """
    with ends_with_its_reader():
        _main(args)


def _main(args: Sequence[str] | None) -> None:
    words = list(sys.argv[1:] if args is None else args)
    # Options of these are those of the user's classes, which LightningCLI reads. Processes that Lightning launches read
    # the command line of this one.
    is_help = bool({"-h", "--help"} & set(words))
    if words[:1] and words[0] in ("run", "score", "features", "ask", "race") and not is_help:
        from lightning_al.cli.named_files import refuse_missing

        refuse_missing(words)
    if words[:1] == ["run"]:
        from lightning_al.cli.run import run

        return run(None if args is None else words)
    if words[:1] == ["score"] and not is_help:
        from lightning_al.cli.run import run
        from lightning_al.cli.score import ScoreCLI

        return run(None if args is None else words, ScoreCLI)
    if words[:1] == ["features"] and not is_help:
        from lightning_al.cli.features import FeaturesCLI
        from lightning_al.cli.run import run

        return run(None if args is None else words, FeaturesCLI)
    if words[:1] == ["ask"] and not is_help:
        from lightning_al.cli.ask import ask

        return ask(None if args is None else words)
    if words[:1] == ["race"] and not is_help:
        from lightning_al.cli.race import race

        return race(None if args is None else words)
    if words[:1] == ["tell"]:
        from lightning_al.cli.tell import tell

        return tell(words[1:])
    if words[:1] == ["sweep"]:
        from lightning_al.cli.sweep import sweep

        return sweep(words[1:])
    if words[:1] == ["reproduce"]:
        from lightning_al.cli.reproduce import reproduce

        return reproduce(words[1:])
    parser = _parser()
    options = parser.parse_args(words)
    if "command" not in options:
        return parser.print_help()
    return options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lightning-al",
        description="Active learning for PyTorch Lightning.",
        epilog="`lightning-al COMMAND --help` lists the options of each.",
    )
    parser.add_argument("--version", action="version", version=lightning_al.__version__)
    commands: Commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=CommandParser)
    commands.add_parser("run", help="Run a campaign from YAML and flags: run -c recipe.yaml [--resume] [--loop.seed 1]")
    add_recipe_commands(commands)
    commands.add_parser(
        "tell", help="Take labels from files: tell -c recipe.yaml labels.csv [--partial], or tell FOLDER labels.csv"
    )
    _add_status(commands)
    commands.add_parser(
        "sweep",
        help="Methods by seeds, then compared: sweep -c protocol.yaml --methods saal,random --seeds 0..4 --jobs 2",
    )
    _add_compare(commands)
    _add_diagnose(commands)
    _add_report(commands)
    commands.add_parser(
        "reproduce",
        help="Published tables and figures, and what each lacks here; one of them: reproduce saal/table-1 --small",
    )
    _add_recipes(commands)
    return parser


def _add_compare(commands: Commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="Tables and a picture of the learning curves below a folder: compare runs/",
        description="Compare the campaigns below a folder: learning curves, differences to a baseline over seeds with "
        "intervals and tests, labels saved, and which method beats which; as tables, pictures, JSON and CSV. Campaigns "
        "in ROOT/full_data, trained on all labels, are a line in the picture.",
    )
    parser.add_argument(
        "root",
        nargs="+",
        help="Folder to search. ROOT/saal/seed_0, ROOT/saal/seed_1, ... repeat the method saal. Of several "
        "folders, as of several datasets, each is compared; then methods beside each other over the cases of all.",
    )
    parser.add_argument(
        "--metric", help='Which metric. Default: the first with "acc" in its name, else of which more is better.'
    )
    parser.add_argument("--baseline", help="Method that others are compared with. Default: random.")
    parser.add_argument(
        "--wins-by",
        choices=("last", "mean", "best"),
        default="mean",
        help="What pairs of methods are compared by: the last round, the mean over the curve (the default), or the "
        "maximum over rounds.",
    )
    _add_direction(parser)
    parser.add_argument(
        "--output", help="File of the picture; other files are named after it. Default: ROOT/curves.png."
    )
    parser.set_defaults(command=_compare)


def _add_direction(parser: argparse.ArgumentParser) -> None:
    better = parser.add_mutually_exclusive_group()
    better.add_argument(
        "--lower-is-better",
        action="store_true",
        default=None,
        help="Less of the metric is better. Default: by its name.",
    )
    better.add_argument(
        "--higher-is-better",
        action="store_false",
        dest="lower_is_better",
        default=None,
        help="More of it is better.",
    )


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser(
        "report",
        help="Campaigns as one HTML file, with pictures of the picks: report runs/",
        description="Write what became of campaigns as one HTML file that loads nothing: the result in words, learning "
        "curves, methods beside each other, what was asked and when, the picks as images or texts, scores, coverage, "
        "disagreements, seconds and cost, settings, warnings. Campaigns are not changed.",
        epilog="To show samples, the data of the project are opened as the config.yaml of a campaign's folder says, "
        "with the classes that it names: for a folder of somebody else give --no-data.",
    )
    add = parser.add_argument
    add(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="A campaign's folder, or one that campaigns lie below; several too.",
    )
    add(
        "--output",
        metavar="FILE",
        help="The file. Default: report.html in the folder. No file but a report is replaced.",
    )
    add("--metric", help='The main metric. Default: that with "acc" in its name, else one of which more is better.')
    add("--baseline", help="Method that others are compared with. Default: random.")
    _add_direction(parser)
    add("-c", "--config", action="append", help="The project's YAML files. Default: config.yaml of each folder.")
    add("--no-data", action="store_true", help="Do not open the data: keys stand in place of pictures and texts.")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    from lightning_al.cli.report import report

    try:
        report(options)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")


DIAGNOSES = {
    "bound": "the terms of SAAL's bound over rounds, their correlations with scores, top-k overlaps",
    "losses": "maximally perturbed losses of labelled, unlabelled and both",
    "labels_kept": "labels kept under perturbation, and the margin where they are not",
    "landscape": "the loss around the last weights along two directions, with its largest eigenvalue",
    "norms": "how many of the largest true-label gradient norms were picked",
    "falls": "how many picks have a smaller gradient norm in the next round",
    "influence": "influence on the test loss, overlap and size of its approximations (small models)",
    "gap": "training less test accuracy",
    "classes": "test accuracy of each class beside its labels",
    "confidence": "histograms of confidence, labelled and unlabelled",
    "tsne": "features of unlabelled samples and picks in two dimensions (scikit-learn)",
    "seconds": "seconds of trainings and queries, hours of campaigns; needs no weights",
    "transfer": "another model trained on the picks (--model FILE); needs no weights",
}
"""What ``diagnose`` shows, by name."""


def _add_diagnose(commands: Commands) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="Look inside campaigns that kept their weights: diagnose FOLDER --show losses gap",
        description="Look inside campaigns that kept their weights (`run --loop.keep_weights=true`): print tables, and "
        "write them and pictures. Several folders are compared. Their campaigns are not changed.",
        epilog="What can be shown:\n" + "\n".join(f"  {name:<12} {said}" for name, said in DIAGNOSES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="A campaign's folder (`loop.dirpath`); more of them to compare.")
    add("--show", nargs="+", choices=list(DIAGNOSES), required=True, metavar="WHAT", help="See below; several too.")
    add("--rounds", help="Which rounds: 0,5,-1 or 0..4. Default: all that kept their weights.")
    add("--output", help="Folder for tables and pictures. Default: `diagnoses` in the first folder.")
    add("-c", "--config", action="append", help="The project's YAML files. Default: config.yaml of the folder.")
    add("--samples", type=int, help="At most how many samples are looked at; each has its own default.")
    add("--held-out", type=int, help="At most how many test samples are looked at. Default: all; influence 1,000.")
    add("--batch-size", type=int, help="Samples of a batch. Default: loop.pool_batch_size, else the loader's.")
    add("--accelerator", default="auto", help="Where the model is looked at: cpu, gpu, ... Default: auto.")
    add("--rho", type=float, help="Radius of perturbations. Default: 0.05; labels_kept 0.01, 0.05 and 0.1.")
    add("--perturbation", choices=["sam", "asam"], help="Default: sam.")
    add("--norm", choices=["global", "tensor_sum"], help="Of gradients. Default: global.")
    add("--span", type=float, help="How far the landscape goes. Default: 1 filter length.")
    add("--points", type=int, help="Places along each direction of the landscape, odd. Default: 21.")
    add("--loss", choices=["true", "entropy"], help="Of influence: of true labels, or the entropy. Default: true.")
    add("--damping", type=float, help="Added to the Hessian for influence. Default: as much as it takes.")
    add("--seed", type=int, help="Of directions and t-SNE. Default: 0.")
    add("--model", help="YAML file with the `model:` of `transfer`.")
    parser.set_defaults(command=_diagnose)


def _diagnose(options: argparse.Namespace) -> None:
    from lightning_al.cli.diagnosed import files_of, names_of, numbers_of

    try:  # before torch is imported, which takes seconds
        folders = names_of([Path(folder) for folder in options.folders])
        numbers_of(options.rounds)
        if set(options.show) != {"seconds"}:
            for folder in folders.values():
                files_of(folder, options)
    except (ValueError, OSError) as error:
        refuse(error)
    from lightning_al.cli.diagnose import diagnose
    from lightning_al.cli.run import is_ours

    try:
        diagnose(options)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        if not is_ours(error):
            raise
        refuse(error)


def _add_recipes(commands: Commands) -> None:
    parser = commands.add_parser(
        "recipes",
        help="The recipes that come with the package: recipes [saal], or recipes --copy recipes",
        description="List the recipes that come with the package, a line each, or copy them into a folder of yours, "
        "where they can be changed.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="A recipe, as quickstart, or a folder of them, as saal. Default: all.",
    )
    parser.add_argument(
        "--copy",
        metavar="FOLDER",
        help="Copy them into FOLDER. Files that were changed there are not overwritten.",
    )
    parser.set_defaults(command=_recipes)


def _recipes(options: argparse.Namespace) -> None:
    from lightning_al.cli.recipes import recipes

    try:
        recipes(options.names, options.copy)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _add_status(commands: Commands) -> None:
    parser = commands.add_parser(
        "status",
        help="Where a campaign stands: status FOLDER",
        description="Say how many samples are labelled, pending and skipped, what was spent, the rounds, the last "
        "metrics, and who labelled what.",
    )
    parser.add_argument("folder", help="The campaign's folder (`loop.dirpath`).")
    parser.add_argument("--json", action="store_true", help="As JSON, for programs.")
    parser.set_defaults(command=_status)


def _status(options: argparse.Namespace) -> None:
    from lightning_al.cli.status import print_status

    try:
        print_status(options.folder, as_json=options.json)
    except (ValueError, OSError) as error:
        refuse(error)


def _compare(options: argparse.Namespace) -> None:
    from lightning_al.report.compare import compare

    try:
        compare(
            options.root,
            options.metric,
            options.output,
            baseline=options.baseline,
            wins_by=options.wins_by,
            lower_is_better=options.lower_is_better,
        )
    except (ValueError, OSError, ImportError) as error:
        refuse(error)
