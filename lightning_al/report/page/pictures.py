"""Samples as tiles of a page: images with what was said of them drawn in, texts, numbers; small enough for one file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_al.drawing.markup import Html, joined, name_of, tag
from lightning_al.drawing.signal import is_signal
from lightning_al.oracle.people.pictures import array_of, sight_of
from lightning_al.oracle.regions import Region
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Boxes, Mask

SIDES = (256, 192, 144, 112, 88, 64, 48)
"""Longest sides of pictures in pixels, tried until all fit."""

PALETTE = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (120, 94, 240),
    (140, 140, 140),
    (100, 60, 20),
)
"""Of classes in masks and boxes; those of Okabe and Ito, and three more."""

FEW_PIXELS = 48
"""Images up to this side are shown pixel by pixel."""

_LONGEST_TEXT = 280
_MOST_NUMBERS = 8
_MOST_BOXES = 300
_ENDS = "\x1a"  # around the number of a picture: no text of the data has it any more


@dataclass(frozen=True)
class Look:
    """What there is to see of a sample.

    Args:
        image: Of PIL, or None.
        text: If it is one.
        values: Names and numbers, if it has some.
    """

    image: Any = None
    text: str | None = None
    values: Sequence[tuple[str, str]] = ()


def picture_of(value: Any) -> Any:
    """Return an array as an image of PIL in colours, its largest side as :data:`SIDES` have it; None if it is none.

    Of several channels that are no colours the mean is shown, of a volume the middle slice; a signal is drawn.
    """
    if not hasattr(value, "convert"):
        array = array_of(value)
        if array.dtype == object or array.ndim < 2 or array.ndim > 4 or not array.size:
            return None
        if array.ndim == 4:  # (C, D, H, W)
            array = array[:, array.shape[1] // 2]
        if array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[-1] not in (1, 3):
            array = array.mean(0) if array.shape[0] <= 16 else array[len(array) // 2]
        if min(array.shape[-2:]) < 1 or not np.isfinite(array).any():
            return None
        has_gaps = array.dtype.kind == "f" and not is_signal(array.shape)
        value = np.nan_to_num(array) if has_gaps else array
    return sight_of(value).convert("RGB")


def values_of(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return some numbers as names and texts: a few of them, called by their places, and by a name that all have."""
    array = array_of(value).reshape(-1)
    if array.dtype.kind not in "iufb" or not array.size:
        return []
    few = array[:_MOST_NUMBERS].tolist()
    names = [name] if name and array.size == 1 else [f"{name} {i}".strip() for i in range(len(few))]
    rows = [(called, f"{float(number):.4g}") for called, number in zip(names, few, strict=True)]
    return rows + ([("…", f"{array.size} numbers")] if array.size > _MOST_NUMBERS else [])


class Album:
    """The pictures of one page, packed together once all are known."""

    def __init__(self) -> None:
        self._images: list[Any] = []
        self.side = SIDES[0]
        """The longest side that the pictures were given."""

    def __len__(self) -> int:
        return len(self._images)

    def add(self, image: Any) -> Html:
        """Take a picture, and return what stands for its address until all are packed."""
        image = image if max(image.size) <= SIDES[0] else smaller(image, SIDES[0])
        self._images.append(image)
        return Html(f"{_ENDS}{len(self._images) - 1}{_ENDS}")

    def packed(self, page: str, most: int) -> str:
        """Return a page with its pictures, together at most about ``most`` bytes.

        Args:
            page: HTML.
            most: Bytes of all addresses.
        """
        for side in SIDES:
            self.side = side
            addresses = [_address(image, side) for image in self._images]
            if sum(map(len, addresses)) <= most:
                break
        parts = page.split(_ENDS)
        parts[1::2] = [addresses[int(number)] for number in parts[1::2]] if self._images else []
        return "".join(parts)


def smaller(image: Any, side: int) -> Any:
    """Return an image of at most so many pixels a side."""
    from PIL import Image

    if max(image.size) <= side:
        return image
    by = side / max(image.size)
    return image.resize([max(round(length * by), 1) for length in image.size], Image.Resampling.LANCZOS)


def _address(image: Any, side: int) -> str:
    image = smaller(image, side)
    file = io.BytesIO()
    kind = "png" if max(image.size) <= FEW_PIXELS else "jpeg"
    image.save(file, "PNG", optimize=True) if kind == "png" else image.save(file, "JPEG", quality=78, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour of a class."""
    return PALETTE[number % len(PALETTE)]


def css_colour(number: int) -> str:
    """Return the same for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(number))


def tile(
    album: Album,
    look: Look | None,
    annotation: Any,
    classes: Sequence[str] | None,
    *,
    alt: str,
    below: Sequence[Any],
    region: Blob | None = None,
    instead: str = "",
) -> Html:
    """Return a sample with its label drawn in.

    Args:
        album: Takes the picture.
        look: What there is to see; None: nothing.
        annotation: Its label as people say it; boxes and masks are drawn.
        classes: Names, by class index.
        alt: What it is, for those who do not see it.
        below: Lines under it.
        region: What was asked for of it, if that was a part.
        instead: Stands there where there is nothing to see.
    """
    if look is not None and look.image is not None:
        seen = _image_tile(album, look.image, annotation, classes, alt, region)
    elif look is not None and look.text is not None:
        text = look.text if len(look.text) <= _LONGEST_TEXT else f"{look.text[: _LONGEST_TEXT - 1]}…"
        seen = tag("blockquote", tag("bdi", text))
    elif look is not None and look.values:
        seen = tag("dl", *(joined([tag("dt", name), tag("dd", value)]) for name, value in look.values))
    else:
        seen = tag("div", name_of(instead), class_="none")
    lines = [line for line in below if line]
    caption = joined(line if i == 0 else joined([Html("<br>"), line]) for i, line in enumerate(lines))
    return tag("figure", seen, tag("figcaption", caption), class_="tile")


def _image_tile(
    album: Album, image: Any, annotation: Any, classes: Sequence[str] | None, alt: str, region: Blob | None
) -> Html:
    width, height = image.size
    over = None
    if isinstance(annotation, Mask) or region is not None:
        image = masked(image, annotation if isinstance(annotation, Mask) else None, region)
    if isinstance(annotation, Boxes):
        over = _boxes(annotation, classes, width, height)
    pixels = "pixels" if max(image.size) <= FEW_PIXELS else None
    picture = tag(
        "img",
        src=album.add(image),
        alt=alt,
        width=width,
        height=height,
        class_=pixels,
        loading="lazy",
        decoding="async",
    )
    return tag("span", picture, over, class_="seen")


def masked(image: Any, mask: Mask | None, region: Blob | None) -> Any:
    """Return an image with its mask in colours, and dark where nothing was asked for."""
    from PIL import Image

    pixels = np.array(image).astype(np.float32)
    size = image.size
    if mask is not None:
        values = _at_size(mask.values, size)
        for number in np.unique(values).tolist():
            if number != mask.not_said:
                there = values == number
                pixels[there] = 0.5 * pixels[there] + 0.5 * np.array(colour_of(number), dtype=np.float32)
    if region is not None:
        asked = _at_size(Region(region).pixels.astype(np.uint8), size) > 0
        pixels[~asked] *= 0.6
        edge = asked ^ _shrunk(asked)
        if asked.mean() > 0.001 and not asked.all():
            pixels[edge] = (255, 225, 0)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _at_size(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return values of pixels at the size of an image, each that of the nearest."""
    height, width = values.shape
    rows = np.minimum((np.arange(size[1]) + 0.5) * height / size[1], height - 1).astype(int)
    columns = np.minimum((np.arange(size[0]) + 0.5) * width / size[0], width - 1).astype(int)
    return values[rows[:, None], columns[None, :]]


def _shrunk(there: np.ndarray) -> np.ndarray:
    padded = np.pad(there, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & there


def placed_boxes(
    boxes: Boxes, classes: Sequence[str] | None, size: tuple[int, int]
) -> list[tuple[tuple[float, float, float, float], str, int]]:
    """Return the corners of boxes in the pixels of an image, with the class of each by name and number.

    Args:
        boxes: As people drew them.
        classes: Names, by class index.
        size: Width and height of the image; where its proportions are others than theirs, they have no place in it.
    """
    try:
        boxes = boxes.in_pixels_of(size)
    except ValueError:
        return []
    numbers = {name: i for i, name in enumerate(classes or sorted(set(boxes.labels)))}
    rows = zip(boxes.boxes[:_MOST_BOXES], boxes.labels, strict=False)
    return [(corners, label, numbers.get(label, 0)) for corners, label in rows]


def _boxes(boxes: Boxes, classes: Sequence[str] | None, width: int, height: int) -> Html:
    """Return boxes as a drawing over an image, each with its class as what a mouse reads."""
    drawn = []
    for (left, top, right, bottom), label, number in placed_boxes(boxes, classes, (width, height)):
        place = {"x": f"{left:.1f}", "y": f"{top:.1f}", "width": f"{right - left:.1f}", "height": f"{bottom - top:.1f}"}
        drawn.append(tag("rect", class_="under", **place))
        drawn.append(tag("rect", tag("title", label), style=f"--m:{css_colour(number)}", **place))
    return tag(
        "svg", *drawn, viewBox=f"0 0 {width} {height}", class_="over", preserveAspectRatio="none", aria_hidden="true"
    )


def class_key(numbers: Sequence[int], classes: Sequence[str] | None) -> Html:
    """Return which colour is which class."""
    spans = []
    for number in numbers:
        name = classes[number] if classes is not None and number < len(classes) else str(number)
        swatch = tag("span", class_="swatch", style=f"background:{css_colour(number)}")
        spans.append(tag("span", swatch, name_of(name)))
    return tag("div", *spans, class_="legend") if spans else Html("")


def words_of(annotation: Any, most: int = 4) -> str:
    """Return a label in a few words.

    Example:
        >>> words_of("cat"), words_of(["a", "b"]), words_of(Boxes([[0, 0, 1, 1]] * 2, ["x", "x"])), words_of(0.25)
        ('cat', 'a, b', '2 x', '0.25')
    """
    if isinstance(annotation, Boxes):
        counts = {name: annotation.labels.count(name) for name in dict.fromkeys(annotation.labels)}
        words = [f"{count} {name}" for name, count in counts.items()] or ["no box"]
    elif isinstance(annotation, Mask):
        return f"mask of {annotation.size[0]} x {annotation.size[1]}"
    elif isinstance(annotation, (list, tuple)):
        words = [str(name) for name in annotation] or ["none"]
    elif isinstance(annotation, float):
        words = [f"{annotation:.4g}"]
    else:
        words = [str(annotation)]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
