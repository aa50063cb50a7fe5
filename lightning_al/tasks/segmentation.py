"""The task of one class per pixel: semantic segmentation."""

from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.checks import Findings, check_count, check_flag, check_that
from lightning_al.functional.scores.positions import check_reduce, mean_over_positions, reduced
from lightning_al.functional.scores.probabilities import cross_entropy, most_likely, residuals
from lightning_al.inference.calling import Forward
from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries, Entries
from lightning_al.tasks.ignored import reduced_without
from lightning_al.tasks.masks import MaskLabels
from lightning_al.words import shown

_UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)

_INTERPOLATE = (
    "interpolate logits to the masks' size in the model's `forward`, or in the task: `SegmentationTask(..., "
    'forward=lambda model, x: F.interpolate(model(x), x.shape[-2:], mode="bilinear"))`.'
)


class SegmentationTask(MaskLabels, BatchEntries, Task):
    r"""A class for each pixel: logits (B, C, H, W), and masks (B, H, W) of class indices.

    Each pixel is a decision of its own, and an image's score is made of the scores of its pixels by ``reduce``; so is
    its loss, of the pixels whose class is known. Every acquisition that has a score works: of ``SAAL`` and of the
    gradient norms there is one gradient for each image, of its reduced loss or entropy. ``ExpectedGradNorm`` takes the
    expectation over label maps, of which 64 are drawn, and as many backward passes. Refused are those that look at one
    distribution over classes for each sample, ``BatchBALD`` and ``SRAAL``, and the published form of
    ``ExpectedGradNorm`` (``loss="expected_loss"``), a sum over all label maps.

    Features are what the last convolution (or linear layer) gets, averaged over pixels. ``BADGE`` compares images by

    .. math:: g = \Bigl(\tfrac1N \sum_j p_j - \mathrm{onehot}(\hat y_j)\Bigr) \otimes \Bigl(\tfrac1N \sum_j h_j\Bigr),

    the mean residual and the mean features of the N pixels j. (The gradient of the last layer under the mean loss is
    the mean of the products, :math:`\tfrac1N \sum_j (p_j - \mathrm{onehot}(\hat y_j)) \otimes h_j`; of that there is no
    factored form whose distances are cheap. The paper has no dense outputs.)

    Args:
        num_classes: C, at least 2. A model with one logit z for each pixel has two classes by ``forward=``, which
            stacks (0, z).
        ignore_index: What stands for no class in masks: such pixels are left out of losses. Scores look at all pixels.
            None: every pixel has a class; not of regions, beside which nothing was told. Where it is one of the C
            classes, no pseudo-label is that class.
        reduce: How the values of an image's pixels become one: their ``"mean"``, so that image sizes compare,
            ``"sum"``, or ``"max"``; or a number s above 0 and at most 1, the mean of the most uncertain share,
            ceil(s N) of N pixels. Of losses only pixels that have a class count, and of an image without any it is 0.
        regions: Ask for squares of so many pixels each way, an odd number (1: single pixels). None: for whole images.
        superpixels: Ask for areas of a map (B, H, W) of integers, which is this entry of the batch, by position or
            name. None: for whole images.
        per_image: Of regions, whether ``query_size`` is of each image, as published, or of the whole pool.
        inputs: The entry of a batch that the model is called with, as in
            :class:`~lightning_al.tasks.ClassificationTask`.
        target: The entry with the mask.
        output: Which of the model's outputs has the class scores, where it gives several: ``"out"`` of torchvision's.
        forward: ``forward(model, inputs) -> logits``, where they do not come from ``model(inputs)``; the place to bring
            them to the masks' size.

    Raises:
        TypeError: If an option is of the wrong type.
        ValueError: If an option is out of range, both ``regions`` and ``superpixels`` are given, or one of them
            without an ``ignore_index``.

    Example:
        >>> task = SegmentationTask(2, reduce=0.5)
        >>> logits = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
        >>> task.loss(logits, torch.tensor([[[1, 255]]]))
        tensor([0.6931])
        >>> task.reduce(torch.tensor([[[0.1, 0.7], [0.3, 0.5]]]))
        tensor([0.6000])
        >>> SegmentationTask(21, regions=4)
        Traceback (most recent call last):
        ...
        ValueError: `regions` must be odd, so that a square has a middle, got 4. Take 3 or 5.
    """

    gives: ClassVar[frozenset[str]] = Task.gives - {"labellings"}
    always_checks = True  # masks of another size than the image train well, and to no good

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = 255,
        reduce: str | float = "mean",
        regions: int | None = None,
        superpixels: int | str | None = None,
        per_image: bool = True,
        inputs: Entries = 0,
        target: int | str = 1,
        output: int | str | None = None,
        forward: Forward | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(inputs=inputs, target=target, output=output, forward=forward)
            findings.of(check_count, "num_classes", num_classes, 2)
            is_index = ignore_index is None or type(ignore_index) is int
            findings.of(check_that, is_index, "ignore_index", ignore_index, "an integer or None")
            findings.of(check_reduce, reduce)
            findings.of(_check_regions, regions)
            is_entry = superpixels is None or type(superpixels) in (int, str)
            findings.of(check_that, is_entry, "superpixels", superpixels, "the name or position of an entry, or None")
            findings.of(check_flag, "per_image", per_image)
            findings.refuse_if(
                regions is not None and superpixels is not None,
                f"`regions={shown(regions)}` asks for squares and `superpixels={shown(superpixels)}` for areas of a "
                "map: give one of them.",
            )
            findings.refuse_if(
                ignore_index is None and not (regions is None and superpixels is None),
                "`ignore_index=None` says that every pixel has a class, and of regions those beside them have none: "
                "give the number that stands for it, as `ignore_index=255`.",
            )
        self._classes = num_classes
        self.ignore_index = ignore_index
        self.regions = regions
        self.superpixels = superpixels
        self.per_image = per_image
        self._reduce = reduce

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """C."""
        return self._classes

    @property
    def region_kind(self) -> str | None:
        """What is asked for: ``"squares"``, ``"superpixels"``, or None, whole images."""
        if self.superpixels is not None:
            return "superpixels"
        return "squares" if self.regions is not None else None

    # -- what is computed --------------------------------------------------------------------------------------------

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the class scores of each pixel, (B, C, H, W)."""
        return self.tensor_of(model, inputs)

    def reduce(self, values: Tensor) -> Tensor:
        """Return one value for each image from those of its pixels, (B, ...) -> (B,), by the option ``reduce``."""
        return reduced(values, self._reduce)

    def pseudo_targets(self, logits: Tensor) -> Tensor:
        """Return the most likely class of each pixel, (B, H, W), of those that are taught."""
        if self.ignore_index is not None and 0 <= self.ignore_index < logits.shape[1]:
            taught = torch.arange(logits.shape[1], device=logits.device) != self.ignore_index
            logits = torch.where(taught.view(-1, 1, 1), logits, -torch.inf)
        return most_likely(logits)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the cross-entropies of each image's pixels that have a class, reduced to one, (B,); 0 of none."""
        targets = _without_channel(targets).long()
        if self.ignore_index is None:
            return self.reduce(cross_entropy(logits, targets))
        ignored = targets == self.ignore_index
        losses = cross_entropy(logits, targets.masked_fill(ignored, 0))
        if type(self).reduce is SegmentationTask.reduce:
            return reduced(losses, self._reduce, ~ignored)
        return reduced_without(losses, ignored, self.reduce)

    def known_targets(self, batch: Any) -> Tensor:
        """Return the dataset's own masks, (B, H, W); pixels may have no class.

        Raises:
            ValueError: If an image has none, or a class is none of the model's.
        """
        masks = _signed(_without_channel(super().known_targets(batch)))
        if not isinstance(masks, Tensor) or masks.ndim != 3 or masks.is_floating_point():
            raise ValueError(f"some images have none: their target is {shown(masks)}.")
        wrong = self._no_class(masks)
        if len(wrong):
            raise ValueError(f"some images have none: {wrong[0].item()} in their mask is no class.")
        return masks.long()

    def residuals(self, logits: Tensor) -> Tensor:
        """Return the mean over pixels of the gradient of their losses towards the last layer's outputs, (B, C)."""
        return mean_over_positions(residuals(logits), 2)

    def superpixel_map(self, batch: Any) -> Tensor:
        """Return the entry ``superpixels`` of a batch, a map (B, H, W) of integers."""
        if self.superpixels is None:
            raise ValueError("`SegmentationTask(superpixels=...)` says which entry of a batch the map of areas is.")
        try:
            areas = self._entry(batch, self.superpixels)
        except TypeError as error:
            raise TypeError(
                f"`superpixels={self.superpixels!r}` is the entry with the map of areas, (H, W) in a sample. {error}"
            ) from None
        return _signed(_without_channel(areas))  # type: ignore[no-any-return]

    # -- what is refused before training -----------------------------------------------------------------------------

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse logits, masks and areas that do not belong together; warn where logits look like probabilities."""
        inputs = self.inputs(batch)
        with self.explaining(inputs):
            logits = self.tensor_of(model, inputs)
        self._check_maps(logits, inputs)
        size = tuple(logits.shape[2:])
        with Findings() as findings:
            findings.of(self._check_masks, self._masks_in(batch), size, _image_size(inputs))
            if self.regions is not None and self.regions > min(size):
                findings.refuse(
                    f"`regions={self.regions}` does not fit into images of {_said(size)} pixels. "
                    f"Take an odd number of at most {(min(size) - 1) // 2 * 2 + 1}."
                )
            if self.superpixels is not None:
                findings.of(self._check_superpixels, batch, size)
        sums = logits.float().sum(1)
        if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums)):
            rank_zero_warn(
                "The model's outputs are non-negative and sum to 1 at every pixel: they look like probabilities, while "
                "scores are computed from logits. If so, return the logits from `forward`, or take the logarithm: "
                "`SegmentationTask(forward=lambda model, x: model(x).log())`."
            )

    def _check_maps(self, logits: Tensor, inputs: Any) -> None:
        if not logits.is_floating_point() or logits.ndim != 4:
            raise ValueError(
                "`SegmentationTask` expects floating class scores for each pixel, (B, C, H, W), got "
                f"{logits.dtype} of shape {tuple(logits.shape)}. Say with `output=` or `forward=` where they are."
            )
        if logits.shape[1] != self._classes:
            one = " Of one logit for each pixel: `forward=lambda model, x: F.pad(model(x), (0, 0, 0, 0, 1, 0))`."
            raise ValueError(
                f"`SegmentationTask(num_classes={self._classes})`, and the model gives {logits.shape[1]} class "
                f"score(s) for each pixel, {tuple(logits.shape)}. Give the number that it has."
                f"{one if logits.shape[1] == 1 else ''}"
            )
        if isinstance(inputs, Tensor) and len(logits) != len(inputs):
            raise ValueError(
                f"The model gave {len(logits)} maps of logits for {len(inputs)} images; it must give one for each."
            )

    def _masks_in(self, batch: Any) -> Any:
        """Return the masks of a batch; None where it has none, or something negative stands in their place."""
        try:
            masks = _signed(_without_channel(self.targets(batch)))
        except (TypeError, LookupError):
            return None
        is_placeholder = isinstance(masks, Tensor) and bool((masks < 0).all())
        return None if is_placeholder else masks

    def _check_masks(self, masks: Any, size: tuple[int, ...], image: tuple[int, ...] | None) -> None:
        if masks is None:
            if image not in (None, size):  # of which masks are told
                raise ValueError(
                    f"Logits are {_said(size)} and images {_said(image)} pixels (height × width), of which masks are "
                    f"told: {_INTERPOLATE}"
                )
            return
        if not isinstance(masks, Tensor) or masks.ndim != 3 or masks.is_floating_point() or masks.is_complex():
            got = f"{masks.dtype} of shape {tuple(masks.shape)}" if isinstance(masks, Tensor) else shown(masks)
            raise TypeError(
                "`SegmentationTask` needs masks of class indices, integers (B, H, W), got "
                f"{got}. Say with `target=` where they are. In the dataset, class indices in floats become integers by "
                "`.long()`, one-hot masks by `.argmax(0)`; of a picture of colours look each colour's class up."
            )
        of_mask = tuple(masks.shape[1:])
        if of_mask != size and image not in (None, of_mask):
            raise ValueError(
                f"Masks are {_said(of_mask)} and images {_said(image)} pixels (height × width): bring both to one size "
                "in the dataset, masks by nearest neighbour."
            )
        if of_mask != size:
            raise ValueError(
                f"Logits are {_said(size)} and masks {_said(of_mask)} pixels (height × width): {_INTERPOLATE}"
            )
        wrong = self._no_class(masks)
        if len(wrong):
            ignoring = "" if self.ignore_index is None else f" and {self.ignore_index}, no class"
            raise ValueError(
                f"Masks hold {shown(wrong.unique().tolist())}, and there are classes 0 to {self._classes - 1}"
                f"{ignoring}. Give the right `num_classes=`, and as `ignore_index=` what stands for no class."
            )

    def _check_superpixels(self, batch: Any, size: tuple[int, ...]) -> None:
        areas = self.superpixel_map(batch)
        is_map = isinstance(areas, Tensor) and areas.ndim == 3 and not areas.is_floating_point()
        is_map = is_map and areas.dtype != torch.bool
        if not is_map or tuple(areas.shape[1:]) != size:
            got = f"{areas.dtype} of shape {tuple(areas.shape)}" if isinstance(areas, Tensor) else shown(areas)
            raise ValueError(
                f"`superpixels={self.superpixels!r}` must be a map of integers, one for each pixel, (B, "
                f"{', '.join(map(str, size))}), got {got}."
            )
        if bool((areas < 0).all()):
            raise ValueError(
                f"`superpixels={self.superpixels!r}` numbers no area of {len(areas)} images: pixels of negative "
                "numbers are never asked for. Number areas from 0 on."
            )

    def _no_class(self, masks: Tensor) -> Tensor:
        """Return the values that are neither a class nor ``ignore_index``."""
        wrong = (masks < 0) | (masks >= self._classes)
        return masks[wrong if self.ignore_index is None else wrong & (masks != self.ignore_index)]


def _check_regions(regions: Any) -> None:
    check_count("regions", regions, optional=True)
    if regions is not None and regions % 2 == 0:
        raise ValueError(
            f"`regions` must be odd, so that a square has a middle, got {regions}. Take {regions - 1} or {regions + 1}."
        )


def _signed(values: Any) -> Any:
    """Return integers as int64: there is no comparing those of 16 bits without a sign."""
    return values.long() if isinstance(values, Tensor) and values.dtype in _UNSIGNED else values


def _without_channel(masks: Any, ndim: int = 3) -> Any:
    """Return masks (B, 1, H, W), as torchvision has them, as (B, H, W); with ``ndim=2`` one mask (1, H, W)."""
    has_channel = isinstance(masks, Tensor) and masks.ndim == ndim + 1 and masks.shape[-3] == 1
    return masks.squeeze(-3) if has_channel else masks


def _image_size(inputs: Any) -> tuple[int, ...] | None:
    return tuple(inputs.shape[2:]) if isinstance(inputs, Tensor) and inputs.ndim == 4 else None


def _said(size: tuple[int, ...] | None) -> str:
    return " × ".join(map(str, size or ()))
