"""Ways to compile a model, whole or in parts, by a backend that counts."""

import torch
from torch import nn


class Backend:
    """Runs graphs as they are; notes of each whether it takes gradients."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(torch.is_grad_enabled())
        return graph.forward


def never(graph, inputs):
    raise AssertionError("compiled")


def whole(net, backend):
    return torch.compile(net, backend=backend)


def whole_in_place(net, backend):
    net.compile(backend=backend)
    return net


def parts(net, backend):
    for name, child in list(net.named_children()):
        if not isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            setattr(net, name, torch.compile(child, backend=backend))
    return net


def layers_in_place(net, backend):
    for module in net.modules():
        if not list(module.children()):
            module.compile(backend=backend)
    return net


def forward_alone(net, backend):
    net.forward = torch.compile(net.forward, backend=backend)
    return net


WAYS = {
    "whole": whole,
    "whole in place": whole_in_place,
    "parts": parts,
    "layers in place": layers_in_place,
    "forward alone": forward_alone,
}
