"""What every public function of tensors refuses: what is no tensor, and draws without a generator."""

import numpy as np
import pytest
import torch

from lightning_al import functional as F_al
from lightning_al.acquisition import Random

ROWS, ARRAY = torch.eye(4), np.eye(4, dtype="float32")
ONE = torch.ones(4)
LOG_P = torch.full((3, 2, 2), 0.5).log()


def draws():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: F_al.prob_cover(ARRAY, 1, delta=0.5), "features"),
        (lambda: F_al.prob_cover(ROWS, 1, delta=0.5, labelled=ARRAY), "labelled"),
        (lambda: F_al.typiclust(ARRAY, 1, generator=draws()), "features"),
        (lambda: F_al.typiclust(ROWS, 1, generator=draws(), labelled=ARRAY), "labelled"),
        (lambda: F_al.cluster_labels(ARRAY, 2), "features"),
        (lambda: F_al.graph_adjacency(ARRAY), "features"),
        (lambda: F_al.uncertain_gcn(ARRAY, labelled=ROWS, generator=draws()), "features"),
        (lambda: F_al.core_gcn(ROWS, 1, labelled=ARRAY, generator=draws()), "labelled"),
        (lambda: F_al.k_center_greedy(ROWS, 1, labelled=ARRAY), "labelled"),
        (lambda: F_al.k_center_greedy(ARRAY, 1, labelled=ROWS), "features"),
        (lambda: F_al.kmeans_plusplus(ROWS, 1, generator=draws(), ids=[0, 1, 2, 3]), "ids"),
        (lambda: F_al.coverage_delta(ROWS, [0, 0, 1, 1]), "pseudo_labels"),
        (lambda: F_al.loss_prediction_loss([1.0], ONE), "predicted"),
        (lambda: F_al.loss_prediction_loss(ONE, [1.0]), "losses"),
        (lambda: F_al.nt_xent_loss(ARRAY, ROWS), "first"),
        (lambda: F_al.nt_xent_loss(ROWS, ARRAY), "second"),
        (lambda: F_al.model_change(ROWS, [1.0], ROWS), "own"),
        (lambda: F_al.model_change(ROWS, ONE, ARRAY), "features"),
        (lambda: F_al.gcn_loss(ARRAY, ONE), "labelled"),
        (lambda: F_al.adversarial_loss(ONE, ARRAY), "unlabelled"),
        (lambda: F_al.discriminator_loss(ARRAY, ONE), "labelled"),
        (lambda: F_al.vae_loss(ROWS, ROWS, ROWS, ARRAY), "log_variance"),
        (lambda: F_al.state_uncertainty(ARRAY), "probabilities"),
        (lambda: F_al.worst_case_perturbation([ROWS], [None]), r"grads\[0\]"),
        (lambda: F_al.worst_case_perturbation([ARRAY], [ROWS]), r"params\[0\]"),
    ],
)
def test_what_is_no_tensor_is_named(call, name):
    with pytest.raises(TypeError, match=f"`{name}` must be a tensor, got "):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("kmeans_plusplus", lambda: F_al.kmeans_plusplus(ROWS, 1, generator=None)),
        ("badge", lambda: F_al.badge(ROWS, ROWS, 1, generator=None)),
        ("typiclust", lambda: F_al.typiclust(ROWS, 1, generator=None)),
        ("batch_bald", lambda: F_al.batch_bald(LOG_P, 1, generator=None)),
        ("train_gcn", lambda: F_al.train_gcn(ROWS, ROWS, generator=None)),
        ("train_gcn", lambda: F_al.core_gcn(ROWS, 1, labelled=ROWS, generator=None)),
        ("Random", lambda: Random().select({"index": torch.arange(3)}, 1, labelled_rows={}, generator=None)),
    ],
)
def test_nothing_is_drawn_from_the_global_generator(name, call):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=f"`{name}` .* needs a `generator`"):
        call()
    assert torch.equal(torch.get_rng_state(), before)
