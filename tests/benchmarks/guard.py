"""Measures the published ratios again, in short form, and prints them beside the published ones.

    make guard                                     # minutes; prints, and fails for nothing
    python tests/benchmarks/guard.py --only lengths sam
    python tests/benchmarks/guard.py --write       # publish what was measured
    python tests/benchmarks/guard.py --table       # the published ones, for docs/benchmarks.md

Every figure is a ratio of two times, or of one time and a forward pass, measured in turn in one run, in seconds of the
process, with one thread: less is better. Of ``rounds`` it is functions that are called, in the place of times. What a
ratio is of, and what it is measured by at length, is in ``published.json`` beside this file, from which
``docs/benchmarks.md`` has them. A ratio that lies beyond the published one by more than ``--margin`` is marked; on a
busy machine single ones are, so run those again by ``--only``.
"""

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import beside_the_loop
import lengths
import rounds
import sam
import torch

PUBLISHED = Path(__file__).with_name("published.json")
MARGIN = 0.25
PEERS = ("torch", "lightning", "torchvision", "pytorch-optimizer")


class Ratio(NamedTuple):
    """A ratio of two times.

    Attributes:
        of: What over what.
        command: What measures it at length.
        value: Less is better.
    """

    of: str
    command: str
    value: float


Ratios = dict[str, Ratio]


def exact_scores(models: list[str], rounds: int) -> Ratios:
    """Of SAAL and norms: over the published loop, in forward passes, and of the first call."""
    found: Ratios = {}
    for model in models:
        command = f"python tests/benchmarks/beside_the_loop.py --models {model}"
        of = beside_the_loop.measure(model, rounds)
        for score, ratio, passes, first in (
            ("SAAL", of.saal_ratio, of.saal, of.saal_first),
            ("norm", of.norm_ratio, of.norm, of.norm_first),
        ):
            found[f"{score}, {model}, loop"] = Ratio("over one sample at a time, as published", command, ratio)
            found[f"{score}, {model}, passes"] = Ratio("over a forward pass", command, passes)
            found[f"{score}, {model}, first call"] = Ratio("over a forward pass", command, first)
    return found


def sam_steps(networks: list[str], repeats: int) -> Ratios:
    """Of what a step of SAM does beside its two passes, over pytorch_optimizer's, where it is installed."""
    found: Ratios = {}
    for network in networks:
        for perturbation in ("sam", "asam"):
            of = sam.beside_passes(sam.NETWORKS[network][0], perturbation, repeats)
            if "theirs" in of:
                found[f"{perturbation} step, {network}"] = Ratio(
                    "beside its passes, over pytorch_optimizer's",
                    "python tests/benchmarks/sam.py --only step",
                    of["ours"] / of["theirs"],
                )
    return found


def padded_texts(batches: int, batch: int, rounds: int) -> Ratios:
    """Of a pass over texts of many lengths, over one of as many tokens of one length."""
    return {
        f"{name}, {batches} lengths": Ratio(
            "over one length", "python tests/benchmarks/lengths.py", lengths.ratio(score, batches, batch, rounds)
        )
        for name, score in lengths.SCORES.items()
    }


def round_overhead(epochs: list[int], labels: int, asked: int) -> Ratios:
    """Of the functions that a round calls beyond those of Lightning's own fit, which no busy machine changes."""
    of = rounds.overhead_in_calls()
    return {
        f"a round, {of_round} epochs on {labels} labels, {asked} of them new": Ratio(
            "calls beyond those of Lightning's own fit, in % of them",
            "python tests/benchmarks/rounds.py --only calls",
            100 * of.share(labels, of_round, asked),
        )
        for of_round in epochs
    }


Jobs = dict[str, Callable[[], Ratios]]
MODELS = ("resnet18-64", "mobilenet-64", "convnext-64", "bert-32", "lstm-32", "vit-64", "unet-64")
SHORT: Jobs = {
    **{m: lambda m=m: exact_scores([m], 3) for m in MODELS},
    "sam": lambda: sam_steps(["ResNet-18 w16, 10 of 32x32"], 41),
    "lengths": lambda: padded_texts(40, 50, 1),
    "rounds": lambda: round_overhead([10, 50], 300, 100),
}
TINY: Jobs = {
    "lstm-32": lambda: exact_scores(["lstm-32"], 1),
    "sam": lambda: sam_steps(["PlainCNN, 10 of 28x28"], 2),
    "lengths": lambda: padded_texts(2, 2, 1),
}


def versions() -> dict[str, str]:
    """Return those of the peers that are installed, and the kind of machine."""
    found = {}
    for peer in PEERS:
        try:
            found[peer] = metadata.version(peer)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "machine": f"{platform.machine()}, one thread", "measured": time.strftime("%Y-%m-%d")}


def compared(found: Ratios, published: dict[str, Any], margin: float) -> list[str]:
    """Return the lines of the table: each ratio beside the published one, marked where it is beyond the margin."""
    lines = ["| | now | published | now / published | |", "|---|---|---|---|---|"]
    for name, ratio in found.items():
        before = published.get("ratios", {}).get(name)
        if before is None:
            lines.append(f"| {name} | {ratio.value:.2f} | | | new |")
            continue
        over = ratio.value / before["value"]
        mark = "**slower**" if over > 1 + margin else "faster" if over < 1 / (1 + margin) else ""
        lines.append(f"| {name} | {ratio.value:.2f} | {before['value']:.2f} | {over:.2f} | {mark} |")
    return lines


def merged(found: Ratios, published: dict[str, Any]) -> dict[str, Any]:
    """Return what is published from now on: what was measured, in the place of what was."""
    kept = published.get("ratios", {})
    new = {name: {**ratio._asdict(), "value": round(ratio.value, 3)} for name, ratio in found.items()}
    return {"by": {**published.get("by", {}), **versions()}, "ratios": {**kept, **new}}


def table(published: dict[str, Any]) -> list[str]:
    """Return the lines of the published ratios, as ``docs/benchmarks.md`` has them."""
    lines = ["| | ratio | measured at length by |", "|---|---|---|"]
    for name, of in published["ratios"].items():
        lines.append(f"| {name}: {of['of']} | {of['value']:.2f} | `{of['command']}` |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(SHORT))
    parser.add_argument("--tiny", action="store_true", help="seconds: to see that it runs, not to compare by")
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--published", type=Path, default=PUBLISHED)
    parser.add_argument("--write", action="store_true", help="publish what was measured")
    parser.add_argument("--table", action="store_true", help="print what is published, measure nothing")
    told = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    published = json.loads(told.published.read_text()) if told.published.exists() else {}
    if told.table:
        print("\n".join(table(published)))
        return
    now, then = versions(), published.get("by", {})
    print(f"now: {now}\npublished: {then or 'nothing yet'}\n")
    found: Ratios = {}
    for name, job in (TINY if told.tiny else SHORT).items():
        if told.only is None or name in told.only:
            found |= job()
    print("\n".join(compared(found, published, told.margin)))
    if told.write:
        told.published.write_text(json.dumps(merged(found, published), indent=1) + "\n")


if __name__ == "__main__":
    main()
