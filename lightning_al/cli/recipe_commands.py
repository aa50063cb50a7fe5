"""What ``--help`` says of commands whose options a LightningCLI reads, with those of the user's classes."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_QUIET = "Print the answer, warnings and errors alone: no bar, no line a round."


def add_recipe_commands(commands: Commands) -> None:
    """Add ``score``, ``features``, ``ask`` and ``race``."""
    _add_score(commands)
    _add_features(commands)
    _add_ask(commands)
    _add_race(commands)


def _add_score(commands: Commands) -> None:
    parser = commands.add_parser(
        "score",
        help="Scores of unlabelled samples by a trained model: score -c project.yaml --ckpt_path best.ckpt --k 100",
        description="Score the samples of the project's datamodule with a trained model, without a campaign, and write "
        "them to a CSV file: the picks first, then all others by score. The samples are those of "
        "`unlabelled_dataset()`, `predict_dataloader()` or `pool_dataset()`, the first that the datamodule has.",
        epilog="All options of `model`, `data` and `trainer` may be given too, as to `lightning-al run`; of the "
        "section `loop` the task, the seed and the batch size count. `score -c FILE --print_config` shows them all.",
    )
    parser.add_argument("-c", "--config", help="YAML file: model, data, and the acquisition in trainer.callbacks.")
    parser.add_argument("--ckpt_path", help="A checkpoint of Lightning's, or a plain state_dict.")
    parser.add_argument("--k", type=int, help="How many to pick. Default: none, scores alone.")
    parser.add_argument("--output", help="CSV file with the columns key, index, score, rank. Default: picks.csv.")
    parser.add_argument("--picks-only", action="store_true", help="Leave out of the file what was not picked.")
    parser.add_argument("--batch_size", type=int, help="Samples of a batch. Default: the loader's.")
    parser.add_argument(
        "--labelled", action="store_true", help="The training set is labelled already: compare with it (CoreSet, VAAL)."
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="Name what cannot be read, and leave it out.")
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="A campaign's folder, or any: what the model gives of samples is taken from there, and kept.",
    )


def _add_features(commands: Commands) -> None:
    parser = commands.add_parser(
        "features",
        help="Features of all samples, by an encoder that learns without labels: features -c recipe.yaml",
        description="Train an encoder on all samples without their labels, if it is one that trains, and write what it "
        "makes of each to a file, which ProbCover, TypiClust and other acquisitions take: "
        "`--trainer.callbacks.encoder=features.npy`.",
        epilog="All options of `model`, `data` and `trainer` may be given too, as to `lightning-al run`; "
        "`features -c FILE --print_config` shows them all.",
    )
    parser.add_argument("-c", "--config", help="YAML file: model, data, trainer, output; more than one too.")
    parser.add_argument(
        "--output",
        help="The .npy file, a row for each sample of the data. Default: features.npy. The encoder is kept beside it, "
        "in a .ckpt file, after each epoch.",
    )
    parser.add_argument(
        "--resume", action="store_true", help="Go on after the last epoch that is kept; where there is none, start."
    )


def _add_ask(commands: Commands) -> None:
    parser = commands.add_parser(
        "ask",
        help="Which samples to label next: ask -c recipe.yaml [-k 50] [--export to_label.csv] [--more]",
        description="Hand out which samples to label next, by their keys (file names): the open question again, or a "
        "new one, for which the model is fitted first if labels came since. Answer with `lightning-al tell`.",
        epilog="All options of `model`, `data`, `trainer` and `loop` may be given too, as to `lightning-al run`; "
        "`ask -c FILE --print_config` shows them all.",
    )
    parser.add_argument("-c", "--config", help="YAML file: model, data, loop, and the acquisition; more than one too.")
    parser.add_argument("-k", "--k", type=int, help="How many. Default: loop.query_size.")
    parser.add_argument(
        "--export",
        help="File to fill in: .csv, .jsonl, .json (COCO), or a folder (VOC, masks). Default: keys are printed.",
    )
    parser.add_argument("--format", help="What the file is: csv, jsonl, coco, voc or png. Default: as its suffix says.")
    parser.add_argument("--more", action="store_true", help="Ask for more while a question is open.")
    parser.add_argument(
        "--keep-scores", action="store_true", help="Keep the scores of what was not picked too, beside the ledger."
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="Name what cannot be read, and skip it for good."
    )
    parser.add_argument("--acquisition", metavar="NAME", help="Ask for the picks of this one in the last `race`.")
    parser.add_argument("--quiet", action="store_true", help=_QUIET)


def _add_race(commands: Commands) -> None:
    parser = commands.add_parser(
        "race",
        help="What several acquisitions would ask for next: race -c recipe.yaml --methods saal,entropy,coreset",
        description="Let several acquisitions pick from one pass over the pool, and put their picks beside each other: "
        "overlap, classes, distances. The model is that of the round, fitted first if labels came since. Nothing is "
        "asked for: `lightning-al ask ... --acquisition NAME` then asks for the picks of one.",
        epilog="All options of `model`, `data`, `trainer` and `loop` may be given too, as to `lightning-al run`; "
        "`race -c FILE --print_config` shows them all.",
    )
    parser.add_argument("-c", "--config", help="YAML file: model, data, loop; more than one too.")
    parser.add_argument(
        "--methods", help="Names of recipes/acquisitions, files, or classes of acquisitions, with commas between."
    )
    parser.add_argument("-k", "--k", type=int, help="How many each picks. Default: loop.query_size.")
    parser.add_argument("--output", help="File of the picture (.png, .pdf, .svg) or the table (.csv). Default: none.")
    parser.add_argument("--quiet", action="store_true", help=_QUIET)
