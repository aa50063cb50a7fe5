"""A query's picks, of candidates that a test chooses."""

from lightning_al.loop.query import learn_and_pick
from lightning_al.scoring.pick import Candidates


def pick(session, acquisition, candidates, k, *, purpose):
    """Let an acquisition learn what it needs and pick ``k`` of these dataset indices, in the present round."""
    seed, number = session.settings.seed, session.campaign.next_round
    among = Candidates(candidates, session.labelled, seed, number, purpose=purpose)
    return learn_and_pick(session, acquisition, among, k)
