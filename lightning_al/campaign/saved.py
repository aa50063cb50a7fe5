"""The configurations that a campaign was run with, as its folder keeps them, beside the one that it is given now.

The first is ``config.yaml``; where a later launch had another, ``config_round_3.yaml`` is that from round 3 on.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_al.campaign.events import Event
from lightning_al.campaign.secrets import is_secret, without_secrets
from lightning_al.storage.files import atomic_write
from lightning_al.words import shown

CONFIG = "config.yaml"
_LATER = re.compile(r"config_round_(\d+)\.yaml")
OF_THE_TRAINER = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "limit_train_batches"),
    *("accumulate_grad_batches", "gradient_clip_val", "precision"),
)
"""Its options that say how a round is trained."""

MAY_CHANGE = ("rounds", "budget", "stop", "keep_weights", "cache_gb")
"""Options of the loop of which the same campaign may have others later."""

IN_THE_LEDGER = ("loop.", *(f"trainer.{name}:" for name in OF_THE_TRAINER))
"""How options begin that the ledger has too."""

_AMOUNTS = ("loop.rounds", "loop.budget", "loop.stop")
"""More of them is the same campaign, longer."""
_OF_THE_COMMAND = ("config", "resume", "quiet", "loop.dirpath")
_OF_THE_MACHINE = frozenset(
    {
        *("root", "download", "num_workers", "accelerator", "devices", "strategy", "num_nodes", "logger"),
        *("default_root_dir", "enable_progress_bar", "enable_model_summary", "log_every_n_steps", "profiler"),
        *("pool_batch_size", "pin_memory", "persistent_workers", "enable_checkpointing", "keep_weights"),
    }
)
"""Parts of names: where a run takes place, what it prints and keeps."""
SEEDS = ("seed_everything", "loop.seed")
_MOST = 8


def configurations(folder: Path) -> dict[int, Path]:
    """Return the files of a campaign's configurations by the round that each begins with, in order."""
    found = {int(name[1]): path for path in folder.glob("*.yaml") if (name := _LATER.fullmatch(path.name))}
    first = folder / CONFIG
    return {**({0: first} if first.is_file() else {}), **dict(sorted(found.items()))}


def keep_configuration(folder: Path, text: str, round_number: int) -> list[str]:
    """Keep a configuration that is trained with from a round on, where it is another than the one before.

    Args:
        folder: The campaign's.
        text: The whole configuration, as YAML.
        round_number: Which round; 0: nothing is trained yet, and what was kept of an earlier launch was never used.

    Returns:
        What differs, an option each; nothing for the first one.
    """
    files = configurations(folder)
    differs = _differing([*files.values()][-1], text) if files else []
    if not files or differs:
        path = folder / (CONFIG if round_number == 0 or not files else f"config_round_{round_number}.yaml")
        with atomic_write(path) as file:
            file.write(text.encode())
    return differs


def begun_otherwise(folder: Path, now: str, *, without: tuple[str, ...] = ()) -> str:
    """Return the options of which a campaign had others than it is told to go on with; nothing, if there is none.

    Args:
        folder: The campaign's.
        now: The whole configuration, as YAML; ``{seed}`` in it is the campaign's.
        without: Names that are not looked at. Amounts, the campaign's folder and the machine's never are.
    """
    of_each = (_differing(path, now, without=without) for path in configurations(folder).values())
    return few(next(filter(None, of_each), []))


def changes_of(folder: Path, events: Sequence[Event]) -> dict[int, str]:
    """Return what a campaign was trained with otherwise than before, by the round that was the first to be.

    Args:
        folder: The campaign's, with its configurations.
        events: Of its ledger.
    """
    changes: dict[int, list[str]] = {}
    fitted: set[int] = set()
    options, present = events[0]["options"], events[0]["options"]
    for event in events:
        if event["kind"] == "changed":
            present = event["options"]
        if event["kind"] == "fitted":
            others = [each for each in differences(options, present) if each[0] not in MAY_CHANGE]
            if fitted and others:
                changes.setdefault(event["round"], []).extend(map(in_words, others))
            options = present
            fitted.add(event["round"])
    files = [*configurations(folder).items()]
    for (_, before), (number, path) in itertools.pairwise(files):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = _differing(before, path.read_text(encoding="utf-8"))
            if number in fitted:
                beside = [each for each in found if not each.startswith(IN_THE_LEDGER)]
                changes.setdefault(number, []).extend(beside)
    return {number: few(texts) for number, texts in sorted(changes.items()) if texts}


def _differing(path: Path, now: str, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return the options of which a file has others; none where nobody knows."""
    try:
        import yaml  # of the command line's extra, which files that are kept had

        before, given = yaml.safe_load(path.read_text(encoding="utf-8")), yaml.safe_load(now)
    except Exception:  # no YAML installed, no file, no YAML in it
        return []
    if not isinstance(before, Mapping) or not isinstance(given, Mapping):
        return []
    left_out = {*_AMOUNTS, *_OF_THE_COMMAND, *without}
    loop = before.get("loop")
    seed = loop.get("seed") if isinstance(loop, Mapping) else None
    return [
        in_words((name, was, value))
        for name, was, value in differences(before, given)
        if name not in left_out and not _OF_THE_MACHINE & set(name.split(".")) and was != _of_seed(value, seed)
    ]


def _of_seed(value: Any, seed: Any) -> Any:
    """Return what is written for all seeds as it is for one."""
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value


def in_words(difference: tuple[str, Any, Any]) -> str:
    """Return a name and both values of :func:`differences` in words; of a secret, that it is another one."""
    name, was, value = difference
    if any(map(is_secret, name.split("."))):
        return f"{name}: another than before, which is not shown"
    return f"{name}: {shown(without_secrets(was))}, now {shown(without_secrets(value))}"


def few(found: list[str]) -> str:
    """Return what differs in a line, a few of it."""
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield names and both values; an option that only one of them has is of another version."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (key for key in before if key in now):
            below = name if key == "init_args" else f"{name}.{key}".lstrip(".")
            yield from differences(before[key], now[key], below)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now) and not _names_secrets(now):
        for place, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, name if len(now) == 1 else f"{name}.{place}")
    elif before != now:
        yield name, before, now


def _names_secrets(values: list[Any]) -> bool:
    """Whether some of a list say that others in it are secrets, which alone would not be known for any."""
    return without_secrets(values) != [without_secrets(each) for each in values]
