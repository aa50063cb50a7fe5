"""The graph in which samples are neighbours as far as their features point the same way."""

import torch
from torch import Tensor

from lightning_al.functional.geometry.sphere import full_precision, on_sphere, slices

_ALONE = 1e-4  # far above what rounding of features in float32 makes of a right angle


@full_precision()
def graph_adjacency(features: Tensor) -> Tensor:
    r"""The weights of the graph of CoreGCN (Caramalau et al., CVPR 2021) as a matrix; for small N.

    With the rows :math:`v_i` of :math:`V` the features, brought to length 1,

    .. math:: A = (V V^\top - I)\, D + I, \qquad D_{jj} = 1 / \max(c_j, \lVert s_j \rVert_2)

    where :math:`s_j` is the j-th column of :math:`V V^\top - I` and :math:`c_j` the sum of its entries. The paper and
    its code divide by :math:`c_j`, and so does this wherever no feature is negative, as after a ReLU: the entries are
    then at least 0, and their sum at least their length. With features of either sign a sum may be negative, 0 or
    tiny beside the entries, and its inverse has the wrong sign or no bound; a column is then divided by its length,
    which is ours. A sample without neighbours has only itself, :math:`D_{jj} = 0`: one whose features are all 0 (what
    is taken from the diagonal is :math:`\lVert v_j \rVert^2`, not 1), or at right angles to all others (what its
    column would be divided by is at most 1e-4, so that rounding decides what is in it).

    Args:
        features: (N, d), finite; L2-normalised here, zero rows stay zero.

    Returns:
        (N, N), float64, on the CPU. Column j is what sample j gives to its neighbours.

    Raises:
        ValueError: If features have another shape or are not finite.

    Example:
        >>> graph_adjacency(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [0.0, 0.0]])).round(decimals=2)
        tensor([[1.0000, 0.0000, 0.5000, 0.0000],
                [0.0000, 1.0000, 0.5000, 0.0000],
                [1.0000, 1.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """
    rows = on_sphere(features, dtype=torch.float64).rows
    return Graph(rows, dense=True).product(torch.eye(len(rows), dtype=rows.dtype))


class Graph:
    r"""Products with the matrix of :func:`graph_adjacency`, which is made only where that is cheaper.

    :math:`A X = V (V^\top D X) - \mathrm{diag}(V V^\top) D X + X` takes ``4 N d`` operations a column, and the matrix
    ``2 N²`` after ``2 N² d`` to make it. With ``2 N d²`` for D and as many columns as there are features, as in
    training, the matrix costs less up to about ``N = 1.5 d``; it is made up to ``N = d``, so that it never takes more
    memory than the features.

    Args:
        rows: (N, d), float64, each of length 1, or 0. The products are made on their device.
        dense: Whether to make the matrix; default where it is cheaper.
    """

    def __init__(self, rows: Tensor, *, dense: bool | None = None) -> None:
        self.rows = rows
        self.dense = rows.shape[0] <= rows.shape[1] if dense is None else dense
        self._own = rows.square().sum(1, keepdim=True)
        if self.dense:
            neighbours = (rows @ rows.T).fill_diagonal_(0)
            self._scale = _inverse(neighbours.sum(0), neighbours.norm(dim=0))[:, None]
            self._matrix = neighbours.mul_(self._scale.T)
        else:
            self._scale = _column_scale(rows)

    def product(self, x: Tensor) -> Tensor:
        """:math:`A X` for X of shape (N, columns)."""
        if self.dense:
            return self._matrix @ x + x
        scaled = self._scale * x
        return torch.addcmul(x + self.rows @ (self.rows.T @ scaled), self._own, scaled, value=-1)

    def aggregated(self) -> Tensor:
        r""":math:`A V`, (N, d); in one product with a (d, d) matrix, :math:`V (V^\top D V + I) - D V`."""
        if self.dense:
            return self.product(self.rows)
        mixing = torch.eye(self.rows.shape[1], dtype=self.rows.dtype, device=self.rows.device)
        for block in slices(*self.rows.shape):
            mixing.addmm_(self.rows[block].T, self._scale[block] * self.rows[block])
        out = self.rows @ mixing
        for block in slices(*self.rows.shape):
            out[block] -= self._own[block] * self._scale[block] * self.rows[block]
        return out


def _inverse(sums: Tensor, lengths: Tensor) -> Tensor:
    """What columns with these sums and lengths of their entries are multiplied by."""
    divisor = torch.maximum(sums, lengths)
    return torch.where(divisor > _ALONE, 1 / divisor, 0.0)


def _column_scale(rows: Tensor) -> Tensor:
    """D, (N, 1), without the matrix. Lengths near 1e-4 are rounded to 8 digits here."""
    total = rows.sum(0)
    gram = rows.T @ rows
    scale = torch.empty_like(rows[:, :1])
    for block in slices(*rows.shape):
        v = rows[block]
        own = v.square().sum(1)
        sums = v @ total - own
        lengths = (((v @ gram) * v).sum(1) - own.square()).clamp(min=0).sqrt()
        scale[block, 0] = _inverse(sums, lengths)
    return scale
