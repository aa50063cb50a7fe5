import pytest
import torch

from lightning_al.nn import GCN


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(**options):
    return GCN(3, **{"hidden": 5, "generator": seeded(), **options}).double()


X = torch.randn(7, 3, generator=seeded(1), dtype=torch.float64)
A = torch.randn(7, 7, generator=seeded(2), dtype=torch.float64)


def test_two_graph_convolutions():
    net = network().eval()
    hidden, logits = net(A @ X, lambda x: A @ x)
    want = (A @ (X @ net.hidden_weight) + net.hidden_bias).relu()
    torch.testing.assert_close(hidden, want)
    torch.testing.assert_close(logits, (A @ (want @ net.output_weight) + net.output_bias).flatten())
    assert {n: tuple(p.shape) for n, p in net.named_parameters()} == {
        "hidden_weight": (3, 5),
        "hidden_bias": (5,),
        "output_weight": (5, 1),
        "output_bias": (1,),
    }


def test_weights_are_uniform_up_to_the_root_of_the_outputs():
    net = GCN(50, hidden=100, generator=seeded())
    for weight, bound in ((net.hidden_weight, 0.1), (net.output_weight, 1.0)):
        assert 0.9 * bound < float(weight.abs().max()) <= bound
        assert float(weight.mean()) == pytest.approx(0, abs=0.2 * bound)
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.15)


def test_dropout_is_of_the_hidden_layer_and_in_train_only():
    wide = torch.ones(400, 3, dtype=torch.float64)
    net = network(dropout=0.3)
    net.hidden_bias.data.fill_(10.0)
    full, _ = net.eval()(wide, lambda x: x)
    net.train()
    hidden, logits = net(wide, lambda x: x)
    kept = hidden != 0
    torch.testing.assert_close(hidden[kept], full[kept] / 0.7)
    assert float(kept.double().mean()) == pytest.approx(0.7, abs=0.05)
    torch.testing.assert_close(logits, (hidden @ net.output_weight + net.output_bias).flatten())
    assert not torch.equal(net(wide, lambda x: x)[0] != 0, kept)


def test_draws_come_from_the_generator_alone():
    state = torch.get_rng_state()
    a, b = network(), network()
    assert torch.equal(a(X, lambda x: x)[1], b(X, lambda x: x)[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a.hidden_weight, network(generator=seeded(1)).hidden_weight)


@pytest.mark.parametrize(("option", "value"), [("hidden", 0), ("dropout", 1.0), ("dropout", -0.1)])
def test_refuses_numbers_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"`{option}` must be at least .*, got {value}"):
        network(**{option: value})
