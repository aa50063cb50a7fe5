"""What a campaign was set to and ran with, and the warnings that mattered."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.campaign.saved import configurations
from lightning_al.campaign.secrets import text_without_secrets, without_secrets
from lightning_al.campaign.versions import versions
from lightning_al.drawing.markup import Html, details, prose, section, table, tag
from lightning_al.report.page.reading import Told
from lightning_al.words import cut

_UNREADABLE = "unreadable"
_MOST_CONFIG = 20_000
_MOST_LOG = 2_000_000
_MOST_METHODS = 8  # columns of settings that differ
_WARNING = re.compile(r"\b(\w*Warning): (.+)")
_NOISE = re.compile(
    r"does not have many workers|num_workers|litlogger|smaller than the logging interval|overridden by LightningCLI"
    r"|args parameter is intended|srun|Tensor Cores|checkpointing is enabled|logs? (?:any|no) hyper|deprecat",
    re.IGNORECASE,
)


def flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Go through settings as names, with points between levels, and texts.

    Example:
        >>> list(flat({"seed": 0, "acquisition": {"class": "SAAL", "rho": 0.05}}))
        [('seed', '0'), ('acquisition.class', 'SAAL'), ('acquisition.rho', '0.05')]
    """
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", cut("-" if value is None else str(value), 120)


def settings_section(shown: Sequence[Told], all_: Sequence[Told]) -> Html:
    """Return settings, those that are the same once, and versions.

    Args:
        shown: One campaign of each method.
        all_: All campaigns.
    """
    options = [dict(flat(without_secrets(each.standing.options))) for each in shown]
    names = list(dict.fromkeys(name for each in options for name in each))
    shared = [name for name in names if len({each.get(name) for each in options}) == 1]
    differing = [name for name in names if name not in shared]
    parts = []
    if differing:
        columns = list(zip(shown, options, strict=True))[:_MOST_METHODS]
        rows = [["setting", *(each.method for each, _ in columns)]]
        rows += [[name, *(of.get(name, "-") for _, of in columns)] for name in differing]
        more = f", the first {len(columns)} of {len(shown)} methods" if len(columns) < len(shown) else ""
        parts.append(table(rows, f"Where methods differ{more}", name="settings-differing"))
    rows = [["setting", "value"], *([name, options[0][name]] for name in shared)]
    cells = table(rows, "The same for all" if len(shown) > 1 else "Settings of the campaign", name="settings-shared")
    parts.append(details("Settings that all have", cells) if len(shown) > 1 else cells)
    parts.append(table(version_rows(all_), "Versions", name="versions"))
    whose = f" of {shown[0].name}" if len(shown) > 1 else ""
    for number, path in configurations(shown[0].folder).items():
        config = _config(path)
        if config is not None:
            since = f" from round {number} on" if number else ""
            parts.append(
                details(
                    f"The configuration{whose}{since} ({path.name}, without tokens and passwords)", tag("pre", config)
                )
            )
    folders = [tag("li", tag("code", str(each.folder))) for each in all_[:60]]
    more_folders = tag("li", f"and {len(all_) - 60} more") if len(all_) > 60 else None
    parts.append(details("The folders", tag("ul", *folders, more_folders)))
    return section("Settings and versions", *parts, name="settings")


def version_rows(campaigns: Sequence[Told]) -> list[list[str]]:
    """Return the versions that campaigns began with, where their ledgers say so, and those that made the report."""
    recorded: dict[str, set[str]] = {}
    for each in campaigns:
        for name, version in each.versions.items():
            recorded.setdefault(name, set()).add(version)
    now = versions()
    rows = [["package", "the campaigns began with", "this report was made with"]]
    for name in dict.fromkeys([*now, *recorded]):
        rows.append([name, cut(", ".join(sorted(recorded.get(name, ()))) or "not recorded", 120), now.get(name, "-")])
    return rows


def _config(path: Path) -> str | None:
    try:
        import yaml

        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = yaml.safe_dump(without_secrets(settings), sort_keys=False, allow_unicode=True)
    except Exception:  # of any kind: no YAML installed, no file, no YAML in it
        return None
    return text if len(text) <= _MOST_CONFIG else f"{text[:_MOST_CONFIG]}\n..."


# -- warnings ------------------------------------------------------------------------------------------------------


def warnings_section(campaigns: Sequence[Told], problems: Sequence[str]) -> Html:
    """Return what of campaigns, their ledgers and their logs a reader must know; empty where there is nothing."""
    texts = [text_without_secrets(text) for text in [*problems, *_together(campaigns), *_not_alike(campaigns)]]
    if not texts:
        return section(
            "Warnings", tag("p", "None: nothing in the ledgers or logs that a reader must know."), name="warnings"
        )
    shown = texts[:40]
    more = [tag("p", f"and {len(texts) - len(shown)} more.")] if len(shown) < len(texts) else []
    return section(
        "Warnings", *(tag("div", tag("p", prose(text)), class_="warn") for text in shown), *more, name="warnings"
    )


def _together(campaigns: Sequence[Told]) -> list[str]:
    """Return warnings once each, with the campaigns that they are of."""
    of_text: dict[str, list[str]] = {}
    for each in campaigns:
        for text in [*ledger_warnings(each), *log_warnings(each.folder)]:
            of_text.setdefault(text, []).append(each.name)
    if len(campaigns) == 1:
        return list(of_text)
    return [f"{text} ({_few(names)})" for text, names in of_text.items()]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def ledger_warnings(campaign: Told) -> list[str]:
    """Return what a campaign's ledger says that must be known."""
    standing, texts = campaign.standing, []
    unreadable = [e for e in campaign.events if e["kind"] == "skipped" and e.get("annotator") == _UNREADABLE]
    if unreadable:
        count = sum(len(event["indices"]) for event in unreadable)
        named = [str(key) for event in unreadable for key in event.get("keys") or [] if key is not None]
        texts.append(f"{count} samples could not be read and were left out{': ' + _few(named) if named else ''}.")
    gone = sum(unit < 0 for unit in standing.samples)
    if gone:
        texts.append(f"{gone} samples that were asked for are gone from the data.")
    taken = sum(len(event["indices"]) for event in campaign.events if event["kind"] == "forgotten")
    if taken:
        texts.append(f"{taken} labels were taken back for good.")
    for number, differs in campaign.changes.items():
        texts.append(f"From round {number} on it was trained with other settings, and its curve is of both: {differs}.")
    for result in campaign.rounds:
        bad = [name for name, value in result.metrics.items() if not math.isfinite(value)]
        if bad:
            texts.append(f"In round {result.round} {_few(bad)} is not finite.")
    alike = [q.round for q in campaign.asked if len(q.scores) > 2 and len(set(q.scores)) == 1]
    if alike:
        texts.append(f"All picks of round {_few([str(n) for n in alike])} have one score: it told nothing apart there.")
    pending, left = len(standing.units("pending")), campaign.left_to_do
    if pending and not campaign.answers_itself:
        wait = "samples wait" if pending != 1 else "sample waits"
        texts.append(f"{pending} {wait} for an answer: all numbers here are of what is labelled so far.")
    elif left:
        whole = standing.options["rounds"] + 1
        texts.append(f"{whole - left} of {whole} trainings are done: it is under way, or was ended before its end.")
    return texts


def log_warnings(folder: Path) -> list[str]:
    """Return the warnings in the log beside a campaign of a sweep, but for those that matter to nobody."""
    path = folder.parent / f"{folder.name}.log"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_LOG)
    except OSError:
        return []
    found: Counter[str] = Counter()
    for kind, said in _WARNING.findall(text):
        if not _NOISE.search(said) and not _NOISE.search(kind):
            found[cut(said.strip(), 300)] += 1
    return [said + (f" ({count} times)" if count > 1 else "") for said, count in found.most_common(12)]


def _not_alike(campaigns: Sequence[Told]) -> list[str]:
    """Say which seeds of methods did not begin with the same samples or weights, so that differences say less."""
    firsts: dict[Any, dict[str, Told]] = {}
    for each in campaigns:
        firsts.setdefault(each.standing.options.get("seed"), {}).setdefault(each.method, each)
    texts = []
    for what, is_apart in (("labels", _began_with_other_labels), ("weights", _began_with_other_weights)):
        apart = [str(seed) for seed, of in firsts.items() if is_apart([*of.values()])]
        if apart:
            texts.append(
                f"The methods did not begin with the same {what} with seed {_few(apart)}: part of the difference "
                "between them is that."
            )
    return texts


def _began_with_other_labels(campaigns: Sequence[Told]) -> bool:
    firsts = [each.asked[0] for each in campaigns if each.asked]
    return len({tuple(sorted(first.units)) for first in firsts if first.round == INITIAL_ROUND}) > 1


def _began_with_other_weights(campaigns: Sequence[Told]) -> bool:
    """Whether parts of the model that they share were not the same; older ledgers do not say."""
    of_part: dict[str, set[str]] = {}
    for each in campaigns:
        for part, digest in each.initial_weights.items():
            of_part.setdefault(part, set()).add(digest)
    return any(len(digests) > 1 for digests in of_part.values())
