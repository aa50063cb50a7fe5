"""What the ledger says of each round, and which rounds can be looked at."""

from dataclasses import replace

import pytest

from lightning_al import Campaign
from lightning_al.acquisition import Entropy
from lightning_al.report.diagnostics import (
    bound,
    confidence,
    embedding,
    falls,
    influences,
    labels_kept,
    landscape,
    losses,
    norms,
)
from lightning_al.report.diagnostics.rounds import chosen_rounds, rounds_kept
from tests.helpers.projects import loop_in, make_trainer


def test_rounds_are_as_the_campaign_had_them(tmp_path):
    class Noted(Entropy):
        """Notes which samples each query scores."""

        def select(self, rows, k, **others):
            seen.append(rows["index"].tolist())
            return super().select(rows, k, **others)

    seen = []
    loop = loop_in(tmp_path, keep_weights=True, subpool_size=13)
    history = loop.run(make_trainer(tmp_path, acquisition=Noted()))
    found = rounds_kept(tmp_path / "c", Campaign.read_events(tmp_path / "c"))
    assert [each.number for each in found] == [0, 1, 2]
    labelled = Campaign.load(tmp_path / "c").pool.labelled.tolist()
    for each, result in zip(found, history):
        assert each.labelled.tolist() == labelled[: result.labelled]
        assert each.picked.tolist() == result.picked
        assert each.count == result.labelled
        assert sorted(each.candidates.tolist() + each.labelled.tolist()) == list(range(60))
        assert each.file is not None
    # The rehearsal and the queries; the last round asks for nothing.
    assert [each.scored.tolist() for each in found[:2]] == seen[-2:]
    for number, file in enumerate(each.file for each in found):
        assert file.parent.name == f"round_{number}"
        assert file.name.startswith("kept_")
    found[0].move({int(found[0].picked[0]): -1, int(found[0].labelled[0]): 99})
    assert found[0].picked.tolist() == history[0].picked[1:]
    assert found[0].labelled[0] == 99
    assert len(found[0].scored) == 12


def test_nothing_to_show(kept):
    last = replace(kept, rounds=kept.rounds[-1:])
    for function in (norms, falls, influences):
        with pytest.raises(ValueError, match=r"None of the rounds looked at picked anything.*`rounds=`"):
            function([last])
    empty = replace(kept, rounds=[replace(kept.rounds[-1], candidates=kept.rounds[-1].candidates[:0])])
    for function in (bound, labels_kept):
        with pytest.raises(ValueError, match="None of the rounds looked at has an unlabelled sample"):
            function([empty])
    assert losses([empty])[0].rows[0][4] == 0.0


@pytest.mark.parametrize("function", [bound, confidence, embedding, influences, labels_kept, landscape, losses])
def test_how_many_samples_is_a_count(kept, function):
    for samples in (-3, 0):
        with pytest.raises(ValueError, match=rf"`samples` must be .*, got {samples}"):
            function([kept], samples=samples)


def test_which_can_be_looked_at(tmp_path):
    loop_in(tmp_path).run(make_trainer(tmp_path, max_epochs=1))
    folder = tmp_path / "c"
    rounds = rounds_kept(folder, Campaign.read_events(folder))
    with pytest.raises(ValueError, match=r"did not keep the weights of its 3 rounds.*keep_weights=true.*--rounds=2"):
        chosen_rounds(folder, rounds)
    assert [each.number for each in chosen_rounds(folder, rounds, [-1, 2])] == [2]  # the last round's always stay
    with pytest.raises(ValueError, match=r"weights of round 0 in .* were not kept.*keep_weights"):
        chosen_rounds(folder, rounds, [0])
    with pytest.raises(ValueError, match="rounds 0 to 2, and no round 7"):
        chosen_rounds(folder, rounds, [7])
    with pytest.raises(ValueError, match="rounds 0 to 2, and no round -7"):
        chosen_rounds(folder, rounds, [-7])
    with pytest.raises(ValueError, match=r"No round is named: .* rounds 0 to 2\."):
        chosen_rounds(folder, rounds, [])
    with pytest.raises(ValueError, match="no round that was fitted"):
        chosen_rounds(folder, [])
    for path in folder.glob("round_*/*.ckpt"):
        path.unlink()
    with pytest.raises(ValueError, match=r"did not keep the weights of its 3 rounds.* from the first round on\.$"):
        chosen_rounds(folder, rounds)
