"""A pool beside a training set that is labelled already: which options it allows, and what the ledger says of it."""

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.beside import Known
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.checks import Findings
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.unlabelled import HOOK, has_unlabelled
from lightning_al.loop.settings import Settings


def find_without_known(findings: Findings, datamodule: pl.LightningDataModule, settings: Settings) -> None:
    """Find options that need samples which are labelled already, where there are none."""
    if has_unlabelled(datamodule):
        return
    findings.refuse_if(
        not settings.has_initial_set,
        "`initial` is 0 or an empty list; the first fit needs at least one labelled sample. There may be no initial "
        f"set where the datamodule has an `{HOOK}()`, and all of its training set is labelled already.",
    )
    findings.refuse_if(
        settings.known_share is not None,
        f"`known_share={settings.known_share}` is the share of each batch that comes from a training set beside an "
        f"`{HOOK}()`, which the datamodule does not have. Define it, or leave the option out.",
    )
    chooser = settings.initial_by
    findings.refuse_if(
        isinstance(chooser, Acquisition) and "labels" in chooser.requires,
        f"`initial_by={type(chooser).__name__}(...)` learns from labelled samples, and before the initial set there "
        'are none. Use an acquisition that needs none (`TypiClust(encoder=...)`), "random" or "balanced".',
    )


def find_nothing_to_ask(findings: Findings, data: ActiveDataModule) -> None:
    """Find that a campaign would begin with nothing to ask for."""
    size = data.samples.size
    if not has_unlabelled(data.datamodule) or not data.has_pool:
        return
    if size == 0:
        findings.refuse(f"`{HOOK}()` is empty, so there is nothing to ask for.")
    elif len(data.new_pool().unlabelled) == 0:
        findings.refuse(
            f"All {size} samples of `{HOOK}()` are in the training set too, which is labelled already: there is "
            "nothing to ask for. Return the samples that are not in it."
        )


def take_note_of_known(campaign: Campaign, data: ActiveDataModule) -> None:
    """Have the ledger know the training set beside the pool as it is today, and which of the pool's samples it has."""
    before = campaign.beside.size
    event = campaign.ranks.first(lambda: _event(campaign, data))
    if event is None:
        return
    campaign.record("known", lambda: event)
    size, now, twins = len(campaign.pool), campaign.beside.size, len(campaign.pool.known)
    if now != before:
        since = f" ({before} when the campaign was last opened)" if before else ""
        rank_zero_info(f"{now} samples of the training set are labelled already{since}, beside {size} unlabelled ones.")
    if twins:
        rank_zero_info(
            f"{twins} of the {size} unlabelled samples are in the training set too: they train as they are there, and "
            "are not asked for."
        )


def _event(campaign: Campaign, data: ActiveDataModule) -> Event | None:
    known = data.known_samples
    now = Known() if known is None else Known(len(known), known.digest)
    twins = [] if known is None else known.in_pool
    if campaign.beside == now and campaign.pool.known.tolist() == twins:
        return None
    return {"size": now.size, "digest": now.digest, "indices": twins}
