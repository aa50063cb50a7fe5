"""Which regions of an image to ask for: squares or superpixels, the highest scores first, none of them twice."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_al.checks import check_choice, check_count, check_tensor
from lightning_al.functional.geometry.windows import dilated
from lightning_al.functional.scores.regions import numbered

VARIANTS = ("exact", "code")

_CHUNK = 1024  # candidates that are looked at together
_SAMPLE = 8192  # scores by which bands of about a size are found


def pick_squares(
    scores: Tensor,
    count: int,
    *,
    radius: int,
    spacing: int | None = None,
    blocked: Tensor | None = None,
    variant: str = "exact",
) -> Tensor:
    r"""Centres of the squares to ask for, greedily: the highest score, then the highest that is free, ... (RIPU).

    Each pick asks for the square of ``radius`` k around its centre, clipped at the borders, and blocks the centres
    within ``spacing`` of that square, which is all within k + spacing of its own centre: with spacing = k (RIPU's
    region form) squares never overlap; its pixel form has k = 0 and spacing 32.

    The picks are those of the plain loop that looks for the maximum again each time, though scores are sorted once,
    and only as far down as picks go: O(HW) time beside O(log) for each of these, where the loop takes O(HW) a pick.

    Where the authors' code differs, and what ``variant="code"`` does:

    - Equal scores: the first in row-major order; in theirs the lowest column, in it the lowest row.
    - All is blocked: fewer picks; in theirs the upper left pixel, again and again.

    Args:
        scores: (H, W), finite where not blocked.
        count: How many, >= 0.
        radius: k >= 0, of a square: (2k + 1) x (2k + 1) pixels.
        spacing: How far from a square other centres are, >= 0. Default: ``radius``.
        blocked: Boolean (H, W): centres that are not to be picked, see :func:`blocked_centres`.
        variant: ``"exact"`` or ``"code"``.

    Returns:
        LongTensor (n,), n <= ``count``, of positions i W + j in the order of the picks, on the CPU.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of range, of another shape, or a free score is not finite.

    Example:
        >>> scores = torch.tensor([[3.0, 9.0, 8.0, 1.0, 2.0]])
        >>> pick_squares(scores, 2, radius=1)
        tensor([1, 4])
    """
    positions = free_squares(scores, count, radius=radius, spacing=spacing, blocked=blocked, variant=variant)
    if variant == "code":
        positions = torch.cat([positions, positions.new_zeros(count - len(positions))])
    return positions


def free_squares(
    scores: Tensor, count: int, *, radius: int, spacing: int | None, blocked: Tensor | None, variant: str
) -> Tensor:
    """Return what :func:`pick_squares` does, and under either ``variant`` nothing more once all is blocked."""
    check_choice("variant", variant, VARIANTS)
    check_count("count", count, 0)
    check_count("radius", radius, 0)
    check_count("spacing", spacing, 0, optional=True)
    values, taken = _free_scores(scores, blocked)
    by_column = variant == "code"
    if by_column:
        values, taken = values.T, taken.T
    picks = _greedy(
        np.ascontiguousarray(values),
        np.ascontiguousarray(taken),
        count,
        reach=radius + (radius if spacing is None else spacing),
    )
    positions = torch.tensor(picks, dtype=torch.long)
    if by_column:
        height = values.shape[1]
        positions = positions % height * values.shape[0] + positions // height
    return positions


def _free_scores(scores: Tensor, blocked: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, and a copy of where they are blocked.

    Raises:
        TypeError: If one is no tensor of its type.
        ValueError: If the shapes are others, or a free score is not finite.
    """
    check_tensor("scores", scores)
    if scores.ndim != 2 or not scores.numel():
        raise ValueError(f"`scores` must have shape (H, W) with pixels in it, got {tuple(scores.shape)}.")
    found = scores.detach().cpu()
    values = (found if found.dtype in (torch.float32, torch.float64) else found.double()).numpy()
    if blocked is None:
        taken = np.zeros(values.shape, dtype=bool)
    else:
        check_mask("blocked", blocked, scores.shape)
        taken = blocked.detach().cpu().numpy().copy()
    wrong = np.flatnonzero(~(np.isfinite(values) | taken))
    if len(wrong):
        i, j = divmod(int(wrong[0]), values.shape[1])
        raise ValueError(f"`scores` has NaN or infinite values: {values[i, j]} at row {i}, column {j}.")
    return values, taken


def check_mask(name: str, mask: Tensor, shape: torch.Size | None = None) -> None:
    """Refuse what is no mask of an image, or of one of another shape.

    Raises:
        TypeError: If it is no boolean tensor.
        ValueError: If it has another shape.
    """
    check_tensor(name, mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"`{name}` must be boolean, got {mask.dtype}.")
    if mask.ndim != 2 or (shape is not None and mask.shape != shape):
        wanted = "(H, W)" if shape is None else f"that of the scores, {tuple(shape)}"
        raise ValueError(f"`{name}` must have the shape {wanted}, got {tuple(mask.shape)}.")


def _greedy(values: np.ndarray, taken: np.ndarray, count: int, *, reach: int) -> list[int]:
    """Return the positions of the highest scores that are not within ``reach`` of a higher one."""
    width = values.shape[1]
    is_taken = taken.reshape(-1)
    picks: list[int] = []
    for candidates in _highest_first(values.reshape(-1), is_taken, count):
        for position in candidates[~is_taken[candidates]].tolist():
            if len(picks) == count:
                return picks
            if is_taken[position]:
                continue
            picks.append(position)
            i, j = divmod(position, width)
            taken[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1] = True
    return picks


def _highest_first(values: np.ndarray, taken: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Give the free positions by falling score, equal ones in their order, some at a time; ``taken`` may grow.

    Scores are sorted a band at a time, since few bands are looked at: first about four for each pick, then ever more.
    Where bands end is read from a sample; that decides how long it takes, not what comes out.
    """
    step = max(len(values) // _SAMPLE, 1)
    sample = np.sort(values[::step][~taken[::step]])[::-1]
    above, rank = np.inf, 4 * count // step + 1
    while above > -np.inf:
        low = sample[rank] if rank < len(sample) else -np.inf
        if low < above:
            band = np.flatnonzero((values > low) & (values <= above) & ~taken)
            band = band[np.argsort(-values[band], kind="stable")]
            for start in range(0, len(band), _CHUNK):
                yield band[start : start + _CHUNK]
            above = low
        rank *= 4


def asked_pixels(positions: Tensor, shape: tuple[int, int], radius: int) -> Tensor:
    """Return the pixels of the squares around these centres, clipped at the borders.

    Args:
        positions: LongTensor (n,), i W + j, as :func:`pick_squares` gives them.
        shape: (H, W) of the image.
        radius: Of a square, >= 0.

    Returns:
        Boolean (H, W), on the CPU.

    Raises:
        TypeError: If ``radius`` is no integer.
        ValueError: If a position is not in the image.

    Example:
        >>> asked_pixels(torch.tensor([4]), (2, 4), 1).int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0]], dtype=torch.int32)
    """
    check_count("radius", radius, 0)
    positions = positions.detach().cpu().long()
    height, width = shape
    wrong = positions[(positions < 0) | (positions >= height * width)]
    if len(wrong):
        raise ValueError(f"`positions` must be from 0 to {height * width - 1}, got {int(wrong[0])}.")
    centres = torch.zeros(height * width, dtype=torch.bool)
    centres[positions] = True
    return dilated(centres.view(height, width), radius)


def blocked_centres(asked: Tensor, spacing: int) -> Tensor:
    """Return the centres that no square may have any more: all within ``spacing`` of an asked pixel.

    Args:
        asked: Boolean (H, W): what was asked for before.
        spacing: As of :func:`pick_squares`: the radius of a square, for squares that do not overlap.

    Returns:
        Boolean (H, W).

    Raises:
        TypeError: If ``asked`` is no boolean tensor, or ``spacing`` no integer.
        ValueError: If the shape is another, or ``spacing`` negative.

    Example:
        >>> blocked_centres(torch.tensor([[True, False, False, False]]), 1)
        tensor([[ True,  True, False, False]])
    """
    check_mask("asked", asked)
    check_count("spacing", spacing, 0)
    return dilated(asked, spacing)


def pick_superpixels(scores: Tensor, superpixels: Tensor, count: int, *, blocked: Tensor | None = None) -> Tensor:
    """Superpixels of one image to ask for: those of the highest mean score, the lowest number among equal ones.

    Args:
        scores: (H, W), finite where not blocked; its mean over a superpixel counts.
        superpixels: Integers (H, W). Pixels of negative numbers belong to no superpixel and are never asked for.
        count: How many, >= 0.
        blocked: Boolean (H, W). A superpixel with any blocked pixel is not picked.

    Returns:
        LongTensor (n,), n <= ``count``, of numbers in ``superpixels``, best first, on the CPU.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is of another shape, or a free score is not finite.

    Example:
        >>> pick_superpixels(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[7, 7, 3]]), 1)
        tensor([3])
    """
    check_count("count", count, 0)
    values, taken = _free_scores(scores, blocked)
    check_tensor("superpixels", superpixels)
    if superpixels.shape != scores.shape or superpixels.is_floating_point():
        raise ValueError(
            f"`superpixels` must be integers of the shape {tuple(scores.shape)}, got {superpixels.dtype} of shape "
            f"{tuple(superpixels.shape)}."
        )
    areas = superpixels.detach().cpu().long()
    index = numbered(areas).flatten().numpy()
    names = np.zeros(int(index.max()) + 1, dtype=np.int64)
    names[index] = areas.flatten().numpy()
    sizes = np.bincount(index)
    sums = np.bincount(index, weights=np.where(taken, 0.0, values).reshape(-1).astype(np.float64))
    free = np.flatnonzero((sizes > 0) & (names >= 0) & (np.bincount(index, weights=taken.reshape(-1)) == 0))
    best = free[np.argsort(-(sums[free] / sizes[free]), kind="stable")][:count]
    return torch.from_numpy(names[best])


def asked_superpixels(numbers: Tensor, superpixels: Tensor) -> Tensor:
    """Return the pixels of these superpixels of an image.

    Args:
        numbers: (n,), as :func:`pick_superpixels` gives them.
        superpixels: Integers (H, W).

    Returns:
        Boolean (H, W), on the CPU.

    Example:
        >>> asked_superpixels(torch.tensor([3]), torch.tensor([[7, 7, 3]]))
        tensor([[False, False,  True]])
    """
    return torch.isin(superpixels.detach().cpu(), numbers.detach().cpu())
