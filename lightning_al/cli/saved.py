"""The options that a campaign began with, by the ``config.yaml`` in its folder, beside those that it is given now."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_al.words import shown

CONFIG = "config.yaml"
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
"""Last parts of names: where a run takes place, what it prints and keeps."""
SEEDS = ("seed_everything", "loop.seed")
_MOST = 8


def begun_otherwise(folder: Path, now: str, *, without: tuple[str, ...] = ()) -> str:
    """Return the options in which a campaign began otherwise than it is told to go on; nothing, if there is none.

    Args:
        folder: The campaign's.
        now: The whole configuration, as YAML.
        without: Names that are not looked at. Amounts, the campaign's folder and the machine's never are.
    """
    try:
        before = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""  # nobody knows
    given = yaml.safe_load(now)
    if not isinstance(before, Mapping) or not isinstance(given, Mapping):
        return ""
    left_out = {*_AMOUNTS, *_OF_THE_COMMAND, *without}
    found = [
        f"{name}: {shown(was)}, now {shown(value)}"
        for name, was, value in _differences(before, given, "")
        if name not in left_out and name.rpartition(".")[2] not in _OF_THE_MACHINE
    ]
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def _differences(before: Any, now: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield names and both values; an option that only one of them has is of another version."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (key for key in before if key in now):
            below = name if key == "init_args" else f"{name}.{key}".lstrip(".")
            yield from _differences(before[key], now[key], below)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, name if len(now) == 1 else f"{name}.{place}")
    elif before != now:
        yield name, before, now
