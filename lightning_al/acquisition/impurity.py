"""What RIPU and RI-SAAL share: the classes around a pixel, of which a region has few or many."""

from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import Findings, check_choice, check_count
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task

VARIANTS = {"paper": "exact", "code": "code"}


class ByImpurity(Acquisition):
    """Chooses regions by how mixed the classes in them are, and by something else.

    Args:
        radius: Of the window that the impurity is taken over, where it is not the region's own.
        variant: ``"paper"``, or ``"code"`` for regions picked as by RIPU's code.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(self, radius: int | None, variant: str) -> None:
        with Findings() as findings:
            super().__init__()
            findings.of(check_count, "radius", radius, optional=True)
            findings.of(check_choice, "variant", variant, VARIANTS)
        self.radius = radius
        self.variant = variant
        self.region_variant = VARIANTS[variant]

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Refuse a task that asks for whole samples, or for single pixels without a ``radius``."""
        self._check_neighbourhood(type(self).__name__, task)
        super().bind(task, oracle)

    def _check_neighbourhood(self, name: str, task: Task) -> None:
        if task.region_kind is None:
            raise ValueError(
                f"`{name}` chooses regions of images, and `{type(task).__name__}` asks for whole samples. Give the "
                "task `regions=3`, squares of 3 x 3 pixels; for whole images take `Entropy`, `SAAL` or another with a "
                "score for each."
            )
        if task.region_kind == "superpixels" and self.radius is not None:
            raise ValueError(
                f"`{name}(radius={self.radius})` is of squares: superpixels have their own pixels. Leave it out."
            )
        if task.regions == 1 and not self.radius:
            raise ValueError(
                f"`{name}` goes by the classes around a pixel: for single pixels, `regions=1`, say how far around. The "
                f"paper has `{name}(radius=32)`."
            )

    def region_spacing(self, radius: int) -> int:
        """Return how far apart picks are: the window of the impurity where it is larger than the region."""
        return max(radius, self.radius or 0)
