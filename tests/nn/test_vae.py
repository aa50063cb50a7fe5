import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.nn import VAE

IMAGES = st.tuples(st.integers(1, 4), st.integers(8, 40), st.integers(8, 40))
OTHERS = st.one_of(
    st.tuples(st.integers(1, 30)),
    st.tuples(st.integers(1, 4), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 60)),
    st.tuples(st.integers(1, 2), st.integers(1, 11), st.integers(1, 11), st.integers(1, 11)),
)


def made(shape, latent=3, width=2, **options):
    torch.manual_seed(0)
    vae = VAE(shape, latent, width, **options).double()
    for p in vae.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return vae


def inputs(shape, batch=2):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(st.one_of(IMAGES, OTHERS))
def test_what_is_decoded_has_the_shape_of_what_was_encoded(shape):
    vae, x = made(shape), inputs(shape)
    mean, log_variance = vae.encode(vae.standardise(x))
    assert mean.shape == log_variance.shape == (2, 3)
    assert vae.decode(mean).shape == x.shape


@settings(deadline=None, max_examples=25)
@given(st.one_of(IMAGES, OTHERS))
def test_every_value_is_seen_and_every_value_is_made(shape):
    """No row or column is lost at an odd edge."""
    vae, x = made(shape), inputs(shape, 1).requires_grad_()
    vae.encoder = torch.nn.Sequential(*[layer for layer in vae.encoder if not isinstance(layer, torch.nn.ReLU)])
    vae.encoder(x).square().sum().backward()
    assert (x.grad != 0).all()
    vae.decoder = torch.nn.Sequential(*[layer for layer in vae.decoder if not isinstance(layer, torch.nn.ReLU)])
    one, two = vae.decode(inputs((3,)))
    assert (one != two).all()


@pytest.mark.parametrize("shape", [(5,), (2, 9), (3, 8, 13), (1, 5, 6, 7)])
def test_samples_do_not_see_each_other_and_training_is_no_other_mode(shape):
    vae, x = made(shape), inputs(shape, 4)
    for mode in (vae.train(), vae.eval()):
        together = mode.encode(x)[0]
        alone = torch.cat([mode.encode(sample[None])[0] for sample in x])
        torch.testing.assert_close(together, alone)
    torch.testing.assert_close(vae.train().encode(x)[0], vae.eval().encode(x)[0], rtol=0, atol=0)


def test_size_does_not_grow_with_the_resolution():
    small, large = (sum(p.numel() for p in VAE((3, n, n), 32).parameters()) for n in (32, 512))
    assert large < 20 * small  # 256 times the pixels


def test_only_part_of_the_code_is_decoded():
    assert made((3, 8, 8), latent=6, decoded=2).decode(inputs((2,))).shape == (2, 3, 8, 8)


def test_standardise():
    vae = made((2, 3, 3))
    vae.shift.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1))
    vae.scale.copy_(torch.tensor([4.0, 0.5]).view(2, 1, 1))
    x = torch.arange(18, dtype=torch.uint8).view(1, 2, 3, 3)
    got = vae.standardise(x)
    assert got.dtype == torch.float64
    assert got[0, 0, 1, 2] == (5 - 1) / 4
    assert got[0, 1, 0, 1] == (10 - 2) / 0.5


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 8), (1, 2, 3, 4, 5)])
def test_refuses_shapes_that_have_no_network(shape):
    with pytest.raises(ValueError, match="must have 1 to 4 axes"):
        VAE(shape, 4)


@pytest.mark.parametrize("option", ["latent", "width", "decoded"])
def test_refuses_numbers_below_one(option):
    with pytest.raises(ValueError, match=f"`{option}` must be at least 1, got 0"):
        VAE((3,), **{"latent": 2, option: 0})


def test_refuses_to_decode_more_than_there_is():
    with pytest.raises(ValueError, match="`decoded=5` is more than a vector of `latent=2` entries has"):
        VAE((3,), latent=2, decoded=5)
    assert VAE((3,), latent=2, decoded=2).decode(torch.zeros(1, 2)).shape == (1, 3)
