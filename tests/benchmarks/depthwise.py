"""Times the gradient of a depthwise convolution's weights beside torch's kernel for it, in turn.

    python tests/benchmarks/depthwise.py

Of several images each has a gradient of its own: torch's kernel is called once for each of them, ours once for all. The
errors are those of a single image's gradient against float64, of its norm.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_al.gradients.rules.depthwise import Window, depthwise_gradients, has_faster_way
from lightning_al.inference.memory import keep_freed_memory


class Layer(NamedTuple):
    """A layer of a network, and how many images."""

    network: str
    channels: int
    size: int
    kernel: int
    stride: int
    images: int


LAYERS = [
    Layer("ConvNeXt-T, 64", 96, 16, 7, 1, 8),
    Layer("ConvNeXt-T, 64", 384, 4, 7, 1, 8),
    Layer("ConvNeXt-T, 64", 768, 2, 7, 1, 8),
    Layer("ConvNeXt-T, 224", 96, 56, 7, 1, 1),
    Layer("ConvNeXt-T, 224", 768, 7, 7, 1, 1),
    Layer("MobileNetV3, 64", 72, 16, 5, 2, 8),
    Layer("MobileNetV3, 64", 72, 16, 3, 1, 8),
    Layer("MobileNetV3, 64", 960, 2, 5, 1, 8),
    Layer("MobileNetV3, 224", 120, 28, 5, 1, 1),
    Layer("MobileNetV3, 224", 960, 7, 5, 1, 1),
    Layer("EfficientNet-B0, 224", 240, 28, 5, 1, 1),
    Layer("EfficientNet-B0, 224", 144, 56, 5, 2, 1),
]


def by_torch(x: Tensor, e: Tensor, window: Window) -> Tensor:
    weight = x.new_empty(x.shape[1], 1, *window.kernel)
    options = (window.stride, window.padding, window.dilation, False, [0, 0], x.shape[1], [False, True, False])
    return torch.ops.aten.convolution_backward(e, x, weight, None, *options)[1]


def by_images(x: Tensor, e: Tensor, window: Window) -> Tensor:
    merged = depthwise_gradients(x.flatten(0, 1)[None], e.flatten(0, 1)[None], window)
    return merged.unflatten(0, x.shape[:2])


def measure(layer: Layer, rounds: int) -> tuple[float, float, float, float]:
    """Return the milliseconds of torch's kernel and of ours, and their errors."""
    k, s = layer.kernel, layer.stride
    window = Window((k, k), (s, s), (k // 2, k // 2), (1, 1))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(layer.images, layer.channels, layer.size, layer.size, generator=generator)
    size = (layer.size - 1) // s + 1
    e = torch.randn(layer.images, layer.channels, size, size, generator=generator)
    if not has_faster_way(e, window, layer.images):
        raise RuntimeError(f"{layer} is left to torch's kernel.")

    def torchs() -> Tensor:
        return torch.stack([by_torch(*one, window) for one in zip(x.split(1), e.split(1), strict=True)])

    def ours() -> Tensor:
        return by_images(x, e, window)

    want = by_torch(x[:1].double(), e[:1].double(), window)
    errors = [float((run()[0] - want).norm() / want.norm()) for run in (torchs, ours)]
    taken = [(milliseconds(torchs), milliseconds(ours)) for _ in range(rounds)]
    return *(statistics.median(each) for each in zip(*taken, strict=True)), *errors


def milliseconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| layer of | channels | map | kernel | stride | images | torch's, ms | ours over it | errors |")
    print("|---|---|---|---|---|---|---|---|---|")
    for layer in LAYERS:
        torchs, ours, error, own = measure(layer, options.rounds)
        print(
            f"| {layer.network} | {layer.channels} | {layer.size} | {layer.kernel} | {layer.stride} | {layer.images} |"
            f" {torchs:.2f} | {ours / torchs:.2f} | {error:.0e}, {own:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
