import pytest
import torch
from torch import nn

from lightning_al import AwaitTell, ClassificationTask
from lightning_al.acquisition import BADGE, SAAL, Acquisition, Entropy, EntropyGradNorm, LeastConfidence, Margin
from lightning_al.functional import badge
from tests.helpers.bound import seeded
from tests.helpers.greedy import materialised
from tests.helpers.models import randn
from tests.helpers.projects import SIZE, Net, make_data

X = make_data()[0]


def bound(acquisition):
    acquisition.bind(ClassificationTask(), AwaitTell())
    return acquisition


def rows_of(acquisition, net, x=X):
    return {**bound(acquisition).rows(net, [x]), "index": torch.arange(len(x))}


def select(acquisition, rows, k=12, seed=0):
    return acquisition.select(rows, k, labelled_rows={}, generator=seeded(seed)).tolist()


def test_the_rows_are_the_factors_of_the_gradient():
    """Of the cross-entropy under the model's own label, with respect to the last layer's weights, by autograd."""
    net = Net(batch_norm=True, dropout=0.3).eval()
    found = rows_of(BADGE(), net.train())
    net.eval()
    for i in range(SIZE):
        logits = net(X[i : i + 1])
        net.zero_grad()
        nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
        made = torch.outer(found["residuals"][i], found["features"][i])
        torch.testing.assert_close(made, net.net[-1].weight.grad, rtol=1e-9, atol=1e-12)


def test_confident_predictions_keep_their_gradients_in_single_precision():
    """At logits that lead by up to 60, 1 - p is 0 in float32, and all samples would look alike."""
    net = nn.Linear(4, 3).double()
    x = randn(40, 4) + 1
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[6.0] * 4, [0.0, 0.3, -0.2, 0.1], [-0.1, 0.0, 0.2, 0.4]]))
    exact = rows_of(BADGE(), net, x)
    assert float(net(x).softmax(1).amax(1).median()) > 1 - 1e-8
    single = rows_of(BADGE(), net.float(), x.float())
    assert single["residuals"].dtype == torch.float32
    torch.testing.assert_close(single["residuals"].double(), exact["residuals"], rtol=1e-3, atol=0)
    for seed in range(5):
        assert select(BADGE(), single, seed=seed) == select(BADGE(), exact, seed=seed)


def test_an_encoder_leaves_k_means_over_its_features():
    rows = rows_of(BADGE(encoder=nn.Identity()), None)
    assert set(rows) == {"features", "index"}
    assert select(BADGE(encoder=nn.Identity()), rows) == materialised(torch.ones(SIZE, 1), X, 12, seeded())


def test_draws_need_a_generator():
    for acquisition in (BADGE(), Entropy(selection="badge")):
        rows = {"score": torch.rand(4), "residuals": randn(4, 3), "features": randn(4, 2), "index": torch.arange(4)}
        with pytest.raises(ValueError, match="needs a `generator`"):
            acquisition.select(rows, 2, labelled_rows={}, generator=None)


# --------------------------------------------------------------------------------------------- as a way to select


@pytest.mark.parametrize("cls", [SAAL, Entropy, LeastConfidence, EntropyGradNorm])
def test_selection_badge_is_k_means_over_the_weighted_gradients(cls):
    acquisition, net = cls(selection="badge"), Net().eval()
    rows = rows_of(acquisition, net)
    assert set(rows) == {"score", "residuals", "features", "index"}
    weighted = rows["residuals"] * rows["score"].unsqueeze(1)
    for seed in range(3):
        assert select(acquisition, rows, seed=seed) == materialised(weighted, rows["features"], 12, seeded(seed))
    same = {**rows, "score": torch.ones(SIZE)}
    with pytest.warns(UserWarning, match="the same score"):
        plain = select(acquisition, same)
    assert plain == badge(rows["residuals"], rows["features"], 12, generator=seeded()).tolist()
    assert plain != select(acquisition, rows)


def test_gradients_of_score_zero_coincide():
    rows = rows_of(Entropy(selection="badge"), Net().eval())
    rows["score"][:50] = 0.0
    got = select(Entropy(selection="badge"), rows, 15)
    assert {*range(50, 60)} < {*got[:11]}  # and one of the others
    assert got[11:] == [i for i in range(5) if i not in got[:11]][:4]


def test_refused_for_scores_that_are_negative():
    with pytest.raises(ValueError, match=r'`selection="badge"`.*`Margin`\'s is negative'):
        Margin(selection="badge")

    class Mine(Acquisition):
        def score_batch(self, model, batch):
            return -torch.ones(len(batch[0])).cumsum(0)

    acquisition = Mine(selection="badge")
    with pytest.raises(ValueError, match="needs scores of at least 0, got -60"):
        select(acquisition, rows_of(acquisition, Net()))
    with pytest.raises(ValueError, match=r'`lowest=True`.*needs `selection="top"`'):
        SAAL(lowest=True, selection="badge")
