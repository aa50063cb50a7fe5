"""How processes that are copies of the one that launched them (spawn, fork) hand back what they did."""

import lightning.pytorch as pl

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.states import RETURNED
from lightning_al.distributed.ranks import end_process_group
from lightning_al.loop.algorithm import Outcome
from lightning_al.loop.session import Session
from lightning_al.storage.weights import load_weights


def hand_back(session: Session, outcome: Outcome) -> str:
    """Leave weights and outcome in a file, end this process's part in the group, and return the campaign's folder.

    A pipe takes 64 KiB at most before the launching process reads, and that reads once its children have ended.
    """
    campaign, project = session.campaign, session.project
    state = {"state_dict": project.model.state_dict(), **outcome._asdict()}
    campaign.states.save(RETURNED, state)
    # A worker process ends without running what is registered for its exit.
    project.trainer.strategy.barrier("end of campaign")
    end_process_group()
    return str(campaign.dirpath)


def take_back(folder: str, model: pl.LightningModule) -> tuple[Campaign, Outcome]:
    """Read what :func:`hand_back` left, and give the model of the launching process its weights."""
    campaign = Campaign.load(folder)
    state = campaign.states.take(RETURNED)
    load_weights(model, state["state_dict"])
    return campaign, Outcome(state["status"], state["picked"], state["race"])
