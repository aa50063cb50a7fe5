import pytest
import torch

from lightning_al.nn import Adversaries, Discriminator


def test_one_logit_for_each():
    for batch in (1, 4):
        assert Discriminator(7)(torch.zeros(batch, 7)).shape == (batch,)


def test_it_judges_the_means_of_standardised_inputs():
    networks = Adversaries((3, 8, 9), latent=4, width=2)
    networks.vae.shift.fill_(2.0)
    networks.vae.scale.fill_(3.0)
    x = torch.randn(5, 3, 8, 9)
    codes = networks.vae.encoder((x - 2) / 3)[:, :4]
    torch.testing.assert_close(networks(x), networks.discriminator(codes))
    assert networks.classifier is None
    assert networks.decoded == 4


def test_half_of_the_code_is_classified():
    networks = Adversaries((6,), latent=10, width=2, classes=3)
    assert networks.decoded == 5
    assert networks.classifier.weight.shape == (3, 5)
    assert networks.vae.decode(torch.zeros(2, 5)).shape == (2, 6)
    assert networks(torch.zeros(2, 6)).shape == (2,)


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"latent": 5, "classes": 3}, r"`latent` must be even where half of it is classified \(`classes=3`\), got 5"),
        ({"latent": 0, "classes": 3}, "`latent` must be at least 1, got 0"),
        ({"latent": 4, "classes": 0}, "`classes` must be at least 1, got 0"),
    ],
)
def test_refuses_what_cannot_be_halved(options, finding):
    with pytest.raises(ValueError, match=finding):
        Adversaries((6,), **options)
    Adversaries((6,), latent=5, width=2)
