"""Weights and other states beside the ledger: plain, and none kept that is of no use."""

import os

import pytest
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tests.helpers.ledger import answered, asked, begin, fitted


def test_state_is_plain_and_cannot_run_code(tmp_path):
    campaign = begin(tmp_path)
    campaign.states.save("w/x.ckpt", {"a": torch.ones(2), "b": [1, "c"]})
    assert campaign.states.load("w/x.ckpt")["b"] == [1, "c"]
    assert campaign.states.load("w/none.ckpt") is None

    class Hostile:
        def __reduce__(self):
            return (os.system, ("touch /tmp/never",))

    torch.save({"a": Hostile()}, tmp_path / "hostile.ckpt")
    (tmp_path / "half.ckpt").write_bytes((tmp_path / "w" / "x.ckpt").read_bytes()[:200])
    for name in ("hostile.ckpt", "half.ckpt"):
        with pytest.raises(ValueError, match=f"{tmp_path / name} is damaged, or holds more .*Restore it"):
            campaign.states.load(name)


def test_only_what_goes_with_the_last_fit_is_kept(tmp_path, monkeypatch):
    campaign = begin(tmp_path)
    asked(campaign, -1, [3, 1])
    answered(campaign, [3, 1], [0, 2])

    def learn(number, *others):
        """What is on disk when a fit has just been recorded, as at a kill."""
        names = [campaign.round_file(name) for name in ("weights", "member_1", "kept")]
        for name in [*names, f"round_{number}/resume.ckpt", *others]:
            campaign.states.save(name, {})
        fitted(campaign, number, 0.5)
        return set(names)

    def there():
        campaign.states.remove_old(campaign.fits, campaign.next_fit)
        paths = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
        return {str(path) for path in paths if path.parts[0] != "ledger"}

    first = learn(0, "round_0/checkpoints/mine.ckpt", "returned.ckpt", "round_0/x.ckpt.tmp", "initial.ckpt")
    kept = {"initial.ckpt", "round_0/checkpoints/mine.ckpt"}
    assert there() == first | kept
    answered(campaign, [5], [1])  # so that the fit begins again, and is killed
    campaign.states.save("round_0/resume.ckpt", {})
    assert there() == first | kept | {"round_0/resume.ckpt"}
    again = learn(0)
    assert not again & first
    assert there() == again | kept
    kept |= {name for name in again if "kept" in name}
    asked(campaign, 0, [7])
    second = learn(1, "round_0/epoch=3.ckpt")  # the last is the user's
    with monkeypatch.context() as another_rank:
        another_rank.setattr(rank_zero_only, "rank", 1)
        assert there() > again | second | kept
    assert there() == second | kept | {"round_0/epoch=3.ckpt"}


def test_a_state_is_taken_once(tmp_path):
    campaign = begin(tmp_path)
    campaign.states.save("returned.ckpt", {"status": "waiting"})
    assert campaign.states.take("returned.ckpt") == {"status": "waiting"}
    with pytest.raises(FileNotFoundError, match=r"returned.ckpt is missing.*`resume=True`"):
        campaign.states.take("returned.ckpt")
