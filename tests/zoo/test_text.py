import torch

from lightning_al.zoo import TextClassifier


def test_text_classifier_passes_over_padding():
    net = TextClassifier(num_classes=3, vocabulary=20, max_length=9, dim=8, depth=2, heads=2).eval()
    short, long = torch.tensor([[5, 2, 7]]), torch.tensor([[5, 2, 7, 0, 0, 0]])
    torch.testing.assert_close(net(short), net(long))
    assert (net(short) - net(short.flip(1))).abs().max() > 1e-5  # order matters
    assert net(torch.zeros(2, 4, dtype=torch.long)).isfinite().all()  # empty texts
    both = torch.tensor([[5, 2, 7, 0], [1, 1, 1, 1]])
    torch.testing.assert_close(net(both)[:1], net(short))
    net.train()(both).sum().backward()
    assert not net.tokens.weight.grad[0].any()
