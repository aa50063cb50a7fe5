r"""Scores of regions of an image: how mixed the classes around a pixel are, and means over windows and superpixels."""

import math

import torch
from torch import Tensor

from lightning_al.checks import check_count, check_tensor
from lightning_al.functional.geometry.windows import counting_type, window_sizes, window_sums
from lightning_al.functional.scores.probabilities import check_logits
from lightning_al.inference.precision import at_least_float32


def window_mean(values: Tensor, radius: int) -> Tensor:
    r"""Mean over the (2k+1)² window around each pixel, clipped at the borders and divided by what is inside.

    .. math:: \bar v_{ij} = \frac{1}{|N_k(i, j)|} \sum_{(u, w) \in N_k(i, j)} v_{uw}, \qquad
        N_k(i, j) = \{(u, w) : |u - i| \le k,\ |w - j| \le k\}

    O(log k) additions a pixel, exact to the rounding of a sum of positive numbers.

    Args:
        values: Floating (B, H, W).
        radius: k >= 0.

    Returns:
        (B, H, W), at least float32.

    Raises:
        TypeError: If ``values`` is no floating tensor, or ``radius`` no integer.
        ValueError: If the shape is another, or ``radius`` is negative.

    Example:
        >>> window_mean(torch.tensor([[[1.0, 2.0, 6.0]]]), 1)
        tensor([[[1.5000, 3.0000, 4.0000]]])
    """
    _check_maps("values", values, floating=True)
    check_count("radius", radius, 0)
    values = at_least_float32(values.detach())
    height, width = values.shape[1:]
    return window_sums(values, radius) / window_sizes((height, width), radius, values.device)


def superpixel_mean(values: Tensor, superpixels: Tensor) -> Tensor:
    """Mean over each superpixel, at each of its pixels.

    Args:
        values: Floating (B, H, W).
        superpixels: Integers (B, H, W): to which area of its image each pixel belongs.

    Returns:
        (B, H, W), at least float32.

    Raises:
        TypeError: If ``values`` is no floating tensor, or ``superpixels`` none of integers.
        ValueError: If the shapes are others.

    Example:
        >>> superpixel_mean(torch.tensor([[[1.0, 2.0, 6.0]]]), torch.tensor([[[7, 7, 3]]]))
        tensor([[[1.5000, 1.5000, 6.0000]]])
    """
    _check_maps("values", values, floating=True)
    _check_superpixels(superpixels, values.shape)
    values = at_least_float32(values.detach())
    # On the CPU, where float64 is, and sums are the same each time.
    of_images = zip(values.cpu(), superpixels.cpu(), strict=True)
    means = [_mean_of_areas(value, numbered(areas)) for value, areas in of_images]
    return torch.stack(means).to(values) if means else values.clone()


def _mean_of_areas(values: Tensor, numbers: Tensor) -> Tensor:
    index = numbers.flatten()
    sums = torch.bincount(index, weights=values.flatten().double())
    return (sums / torch.bincount(index).clamp(min=1))[numbers]


def numbered(superpixels: Tensor) -> Tensor:
    """Return the superpixels of one image, (H, W), by numbers from 0 on that are not many more than its pixels."""
    superpixels = superpixels.long()
    if not superpixels.numel():
        return superpixels
    low, high = (int(v) for v in superpixels.aminmax())
    if high - low < superpixels.numel():
        return superpixels - low
    return torch.unique(superpixels, return_inverse=True)[1]


def region_impurity(logits_or_labels: Tensor, radius: int) -> Tensor:
    r"""Region impurity: the entropy of the classes predicted in the window around each pixel (Xie et al., CVPR 2022).

    .. math:: P_{ij} = -\sum_c q_c \log q_c, \qquad
        q_c = \frac{|\{(u, w) \in N_k(i, j) : \hat y_{uw} = c\}|}{|N_k(i, j)|}

    with the window of :func:`window_mean`. A window of a single class has exactly 0. The authors' code divides by
    log 19 whatever the number of classes, which ranks the same, and adds 1e-6 inside of the logarithm; we do neither.
    Its cost hardly depends on the radius.

    Args:
        logits_or_labels: Floating logits (B, C, H, W), of which the most likely class is taken, or labels (B, H, W),
            integers of at least 0.
        radius: k >= 0. With 0, all is 0.

    Returns:
        In nats, (B, H, W), in the precision of the logits, at least float32; of labels in float64.

    Raises:
        TypeError: If it is neither logits nor labels, or ``radius`` no integer.
        ValueError: If the shape is another, a label negative, or ``radius`` negative.

    Example:
        >>> region_impurity(torch.tensor([[[0, 0, 0, 5]]]), 1).float()
        tensor([[[0.0000, 0.0000, 0.6365, 0.6931]]])
    """
    check_count("radius", radius, 0)
    labels, dtype = _labels_of(logits_or_labels)
    height, width = labels.shape[1:]
    sizes = window_sizes((height, width), radius, labels.device)
    most = int(sizes.max()) if sizes.numel() else 0
    counted = _CountedEntropy(most, labels.device)
    total = torch.zeros(labels.shape, dtype=torch.int64, device=labels.device)
    pixels = torch.bincount(labels.flatten().long())
    labels = labels.to(counting_type(len(pixels)))
    for label in pixels.nonzero().flatten().tolist():
        inside = labels == torch.full_like(labels, label)  # a tenth of the time that comparing with a number takes
        counts = window_sums(inside.to(counting_type(most)), radius)
        total += counted.table.index_select(0, counts.flatten().int()).view_as(total)
    return counted.entropies(total, sizes, dtype)


def superpixel_impurity(logits_or_labels: Tensor, superpixels: Tensor) -> Tensor:
    """Entropy of the classes predicted in each superpixel, at each of its pixels.

    As :func:`region_impurity`, with superpixels in place of windows.

    Args:
        logits_or_labels: Floating logits (B, C, H, W), or labels (B, H, W), integers of at least 0.
        superpixels: Integers (B, H, W): to which area of its image each pixel belongs.

    Returns:
        In nats, (B, H, W), in the precision of the logits, at least float32; of labels in float64.

    Raises:
        TypeError: If it is neither logits nor labels, or ``superpixels`` no tensor of integers.
        ValueError: If the shapes are others, or a label is negative.

    Example:
        >>> superpixel_impurity(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[7, 7, 3]]])).float()
        tensor([[[0.6931, 0.6931, 0.0000]]])
    """
    labels, dtype = _labels_of(logits_or_labels)
    _check_superpixels(superpixels, labels.shape)
    of_images = zip(labels.cpu().long(), superpixels.cpu(), strict=True)
    each = [_impurity_of_areas(own, numbered(areas), dtype) for own, areas in of_images]
    return (torch.stack(each) if each else labels).to(labels.device, dtype)


def _impurity_of_areas(labels: Tensor, numbers: Tensor, dtype: torch.dtype) -> Tensor:
    if not labels.numel():
        return labels
    classes = int(labels.max()) + 1
    counts = torch.bincount((numbers * classes + labels).flatten(), minlength=classes * (int(numbers.max()) + 1))
    counts = counts.view(-1, classes)
    sizes = counts.sum(1)
    counted = _CountedEntropy(int(sizes.max()), labels.device)
    return counted.entropies(counted.table[counts].sum(1), sizes, dtype)[numbers]


class _CountedEntropy:
    """Entropies of shares n / N: log N - (sum of n log n) / N, where all n log n are integers, multiples of a fraction.

    Integers add up to the same in any order, so that the same shares tie whichever classes have them, and a single
    class has exactly 0.

    Args:
        most: The largest N.
        device: Of the table.
    """

    def __init__(self, most: int, device: torch.device) -> None:
        n = torch.arange(most + 1, dtype=torch.float64)
        values = n * n.clamp(min=1).log()
        self._scale = 2.0 ** (62 - math.ceil(math.log2(max(float(values[-1]), 1.0))))
        self.table = (values * self._scale).round().long().to(device)

    def entropies(self, total: Tensor, sizes: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the entropies, from the sums of ``table[n]`` and the N."""
        sizes = sizes.clamp(min=1)
        return (self.table[sizes] - total).to(dtype) / (sizes.to(dtype) * self._scale)


def ripu_map(logits: Tensor, radius: int, *, region_radius: int | None = None) -> Tensor:
    r"""RIPU's score of each pixel: region impurity × prediction uncertainty (Xie et al., CVPR 2022).

    .. math:: A_{ij} = P_{ij}\, U_{ij}, \qquad U_{ij} = \frac{1}{|N_r(i, j)|} \sum_{(u, w) \in N_r(i, j)} H(p_{uw})

    with P the :func:`region_impurity` of radius k and U the mean entropy over the region that is asked for, of radius
    r. Its region form ("RA") has r = k = 1; its pixel form ("PA") k = 32 and r = 0, the pixel's own entropy.

    The authors' code adds 1e-6 inside of the logarithms and divides by log 19; the former moves scores by less than
    1e-4, the latter does not change the order. Ours is exact also where float32's softmax is saturated.

    Args:
        logits: Floating (B, C, H, W), at the resolution of the labels.
        radius: k, of the impurity.
        region_radius: r, of the uncertainty. Default: k.

    Returns:
        (B, H, W), at least float32. Larger = more wanted.

    Raises:
        TypeError: If ``logits`` is no floating tensor, or a radius no integer.
        ValueError: If the shape is another, or a radius negative.

    Example:
        >>> logits = torch.tensor([[[[2.0, 0.0, -9.0]], [[0.0, 1.0, 9.0]]]])
        >>> ripu_map(logits, 1)
        tensor([[[0.3284, 0.2010, 0.0000]]])
    """
    labels, entropies = labels_and_entropies(logits)
    uncertainty = window_mean(entropies, radius if region_radius is None else region_radius)
    return region_impurity(labels, radius).to(uncertainty.dtype) * uncertainty


@torch.no_grad()
def labels_and_entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most likely class of every pixel and the entropy of its classes, (B, C, ...) -> twice (B, ...).

    As ``argmax`` and :func:`~lightning_al.functional.scores.uncertainty.entropies` give them, but class by class, which
    on large maps takes a fifth of the time and no memory of the logits' size; without a gradient.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, C, ...), C >= 2.
    """
    check_logits(logits)
    planes = at_least_float32(logits.detach()).unbind(1)
    largest = planes[0].clone()
    for plane in planes[1:]:
        torch.maximum(largest, plane, out=largest)
    # With e_c = exp(z_c - z_top): log(1 + s) + (sum of e_c (z_top - z_c)) / (1 + s), s without the class on top. All
    # terms are positive, so nothing cancels. Sums and products alone, which run several times as fast as masks do.
    floor = torch.finfo(largest.dtype).min / 4  # of masked classes, as 0 * -inf is NaN
    others, weighted, labels, lower = (torch.zeros_like(largest) for _ in range(4))
    before = torch.ones_like(largest)  # 1 until the first class on top
    for plane in planes:
        gap = (largest - plane).clamp_(max=-floor)
        e, is_lower = gap.neg().exp_(), gap.sign()
        weighted.addcmul_(e, gap)
        others.addcmul_(e, is_lower)
        lower += is_lower
        labels += before.mul_(is_lower)
    others += len(planes) - 1 - lower  # those that tie with the one on top
    return labels.nan_to_num_().to(counting_type(len(planes))), others.log1p() + weighted / (1 + others)


def _labels_of(logits_or_labels: Tensor) -> tuple[Tensor, torch.dtype]:
    """Return labels, and the precision of what is made of them."""
    check_tensor("logits_or_labels", logits_or_labels)
    if logits_or_labels.is_floating_point():
        check_logits(logits_or_labels)
        dtype = at_least_float32(logits_or_labels[:0]).dtype
        labels = logits_or_labels.detach().argmax(1)
    else:
        labels = logits_or_labels
        dtype = torch.float32 if labels.device.type == "mps" else torch.float64  # MPS has none
    _check_maps("labels", labels, floating=False)
    if labels.numel() and int(labels.min()) < 0:
        raise ValueError(f"`labels` must be class indices of at least 0, got {int(labels.min())}.")
    return labels, dtype


def _check_superpixels(superpixels: Tensor, shape: torch.Size) -> None:
    check_tensor("superpixels", superpixels)
    _check_maps("superpixels", superpixels, floating=False)
    if superpixels.shape != shape:
        raise ValueError(
            f"`superpixels` must have an area for each pixel, {tuple(shape)}, got {tuple(superpixels.shape)}."
        )


def _check_maps(name: str, maps: Tensor, *, floating: bool) -> None:
    check_tensor(name, maps)
    if maps.is_floating_point() != floating or maps.is_complex() or maps.dtype == torch.bool:
        raise TypeError(f"`{name}` must be {'floating-point numbers' if floating else 'integers'}, got {maps.dtype}.")
    if maps.ndim != 3:
        raise ValueError(f"`{name}` must have shape (B, H, W), got {tuple(maps.shape)}.")
