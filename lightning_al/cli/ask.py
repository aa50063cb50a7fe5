"""``lightning-al ask``: which samples to label next, written to a file that people fill in."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_al.campaign.events import has_ledger
from lightning_al.campaign.questions import check_replaceable, check_shows_parts, explain_hashes, write_question
from lightning_al.campaign.standing import Standing
from lightning_al.cli.run import ActiveLearningCLI, run, say_nothing
from lightning_al.data.image_size import drawn_size, image_in
from lightning_al.extras import needs
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.tasks.base import annotation_kind_of
from lightning_al.tasks.texts import text_of
from lightning_al.words import cut, shown

with needs("The command line", "jsonargparse", "cli"):
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser

_OPTIONS = ("k", "export", "format", "more", "keep_scores", "skip_unreadable", "acquisition")


class AskCLI(ActiveLearningCLI):
    """``LightningCLI`` with the subcommand ``ask``."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"ask": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the ``loop:`` section, and what is asked and where it goes."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "-k",
            "--k",
            type=int | None,
            default=None,
            help="How many, after the first question, which is of loop.initial. Default: loop.query_size.",
        )
        parser.add_argument(
            "--export",
            type=str | None,
            default=None,
            help="File to fill in: .csv, .jsonl, .json (COCO), or a folder (VOC, masks). Default: keys are printed.",
        )
        parser.add_argument("--format", type=str | None, default=None, help="csv, jsonl, coco, voc or png.")
        parser.add_argument("--more", action="store_true", help="Ask for more while a question is open.")
        parser.add_argument("--keep-scores", action="store_true", help="Keep the scores of what was not picked too.")
        parser.add_argument("--skip-unreadable", action="store_true", help="Skip what cannot be read, for good.")

        parser.add_argument("--acquisition", type=str | None, default=None, help="One that was raced.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Keep what is asked out of the configuration that is saved with the campaign."""
        super().parse_arguments(parser, args)
        config = self.config["ask"]
        self.options: dict[str, Any] = {name: config.pop(name) for name in _OPTIONS}

    def ask(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Hand out the open question, or a new one."""
        self.check_acquisition()
        loop_options, options = dict(self._get(self.config_init, "loop")), self.options
        if loop_options["dirpath"] is None:
            raise ValueError("`ask` needs `--loop.dirpath`: `tell` must find the campaign again.")
        dirpath, path = Path(loop_options["dirpath"]), options["export"]
        is_first = self.trainer.is_global_zero
        before = Standing(dirpath) if is_first and has_ledger(dirpath) else None
        self.loop = loop = ActiveLearningLoop(model, datamodule, **loop_options)
        task = loop.task
        if path is not None and is_first:
            if task.region_kind is not None:
                check_shows_parts(path, options["format"])
            check_replaceable(path, before, options["format"], kind=annotation_kind_of(task))
        opened = set() if before is None else {before.name(unit) for unit in before.units("pending")}
        how = {name: options[name] for name in ("more", "keep_scores", "skip_unreadable", "acquisition")}
        how["more"] = how["more"] or how["acquisition"] is not None
        loop.say = say_nothing  # until the file is there
        picked = loop.ask(self.trainer, options["k"], **how)
        if not self.trainer.is_global_zero:
            return
        standing = Standing(dirpath)
        if path is not None and picked:
            data = loop.datamodule
            size_of = functools.partial(drawn_size, data.pool_set, task=task)
            write_question(
                path,
                standing,
                picked,
                options["format"],
                size_of=size_of,
                text_of=lambda index: text_of(data.pool_set, index, task, standing.samples[index].key),
                image_of=lambda index: image_in(data.pool_set, index, task),
            )
        else:
            print(*(standing.name(unit) for unit in picked), sep="\n")
        if before is None or not before.samples:
            explained = explain_hashes(standing.samples[unit].key for unit in picked)
            if explained:
                print(explained)
        if picked and standing.classes:
            print(f"Labels may be: {cut(', '.join(map(shown, standing.classes)), 300)}.")
        where = f" in {path}" if path is not None and picked else ""
        print(f"{loop.status}: {len(picked)} to label{where}, {loop.label_count} labels, {loop.dirpath}")
        if picked and {standing.name(unit) for unit in picked} <= opened:
            print("They were asked for before and have no label yet: say it, or `skip`; `--more` asks for others.")


def ask(args: Sequence[str] | None) -> None:
    """Run ``lightning-al ask``.

    Args:
        args: The command line from ``ask`` on; None: that of this process.
    """
    run(args, AskCLI)
