"""A campaign as the people who label for it see it."""

from lightning_al import Campaign
from lightning_al.campaign import Standing
from lightning_al.campaign.questions import check_replaceable
from lightning_al.cli.status import status_of
from tests.helpers.ledger import record
from tests.helpers.told import asked, tell


def test_samples_that_are_in_the_training_set_too_are_in_no_state(tmp_path):
    """Nobody waits for them; once they are no longer there they are again what they were."""
    path = asked(tmp_path / "c", ["a", "b", "c", "d", "e"])
    file = tmp_path / "labels.csv"
    file.write_text("key,label\na,cat\nb,cat\nc,skip\n")
    tell(path, file)
    campaign = Campaign.load(path)

    def states():
        by_campaign, standing = Campaign.load(path), Standing(path)
        found = {state: standing.units(state) for state in ("labelled", "pending", "skipped")}
        assert found == {state: getattr(by_campaign.pool, state).tolist() for state in found}
        assert standing.spent == by_campaign.pool.spent == 2
        return found

    assert states() == {"labelled": [0, 1], "pending": [3, 4], "skipped": [2]}
    record(campaign, "known", size=3, digest="x", indices=[1, 2, 3])
    assert states() == {"labelled": [0], "pending": [4], "skipped": []}
    assert status_of(path)["pending"] == 1
    file.write_text("key,label\nd,dog\n")
    check_replaceable(file, Standing(path))  # nobody needs it
    record(campaign, "moved", size=7, root="", indices=[], now=[], keys=[])
    assert states() == {"labelled": [0, 1], "pending": [3, 4], "skipped": [2]}
