"""A query's picks, of candidates that a test chooses."""

from lightning_al.loop.query import learn_and_pick
from lightning_al.scoring.pick import Candidates
from lightning_al.scoring.regions import HowMany, RegionPicker, pick_regions


def pick(session, acquisition, candidates, k, *, purpose):
    """Let an acquisition learn what it needs and pick ``k`` of these dataset indices, in the present round."""
    return learn_and_pick(session, acquisition, _among(session, candidates, purpose), k)


def pick_of_regions(session, acquisition, candidates, k, *, purpose):
    """The same of regions, ``k`` in each image; return images and masks as lists."""
    project, campaign, among = session.project, session.campaign, _among(session, candidates, purpose)
    many = HowMany(k, project.task.per_image, images=len(session.pool))
    picker = RegionPicker(acquisition, many, campaign.regions.all, seed=among.seed, round=among.round)
    return pick_regions(project, campaign.ranks, picker, among, session.budget.count_in_order)


def _among(session, candidates, purpose):
    return Candidates(candidates, session.labelled, session.settings.seed, session.campaign.next_round, purpose=purpose)
