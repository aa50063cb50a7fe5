"""Pictures of what people are asked for: a sample as an image, and a part of it in its place; without torch."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from lightning_al.drawing.signal import is_signal, is_strip, signal_picture
from lightning_al.extras import needs
from lightning_al.oracle.regions import Region
from lightning_al.words import shown

PICTURE = ".asked.png"
"""How the files end that show what is asked for, beside the masks that people fill in."""

_ENTRY = "asked"  # of such a file, with the name of the region
_BESIDE = 0.35  # of the brightness, where nothing is asked
_LINE = (255, 225, 0)


def is_image(value: Any) -> bool:
    """Whether it can be seen as an image: one of PIL, or an array or tensor of one or three channels.

    Three channels of two rows and many columns are none.
    """
    if hasattr(value, "convert") and hasattr(value, "size"):
        return True
    shape = tuple(getattr(value, "shape", ()))
    has_colours = len(shape) == 3 and (shape[0] in (1, 3) or shape[-1] in (1, 3))
    return len(shape) == 2 or (has_colours and (is_signal(shape) or not is_strip(sides_of(shape))))


def is_sight(value: Any) -> bool:
    """Whether :func:`sight_of` shows it."""
    return is_image(value) or is_signal(tuple(getattr(value, "shape", ())))


def sides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return height and width of an array of channels, which are first unless they can be last alone.

    Example:
        >>> sides_of((3, 20, 30)), sides_of((20, 30, 3)), sides_of((16, 20, 30))
        ((20, 30), (20, 30), (20, 30))
    """
    return shape[:2] if shape[-1] in (1, 3) and shape[0] not in (1, 3) else shape[1:]


def image_of(value: Any) -> Any:
    """Return an image of PIL, or an array or tensor (H, W), (1 or 3, H, W) or (H, W, 1 or 3), as one of PIL.

    Raises:
        ValueError: If it is none.
    """
    with needs("Images for people", "Pillow", "labels"):
        from PIL import Image

    if hasattr(value, "convert") and hasattr(value, "size"):
        return value
    if not is_image(value):
        raise ValueError(f"People are shown a text, a path or an image, got {shown(value)}.")
    pixels = array_of(value)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float64)
        low, high = pixels.min(), pixels.max()
        if low < 0 or high > 1:  # normalised for the model: the darkest is black, the brightest white
            pixels = (pixels - low) / max(high - low, 1e-12)
        pixels = np.rint(255 * pixels).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


def sight_of(value: Any) -> Any:
    """Return what people look at: :func:`image_of`, but of a signal its lines, one for each channel.

    A signal is (C, L) or (L, C), of up to 8 channels and more steps, or one of these with a dimension of 1.
    """
    is_array = hasattr(value, "shape") and not hasattr(value, "convert")
    if is_array and is_signal(tuple(value.shape)):
        with needs("Images for people", "Pillow", "labels"):
            return signal_picture(array_of(value))
    return image_of(value)


def array_of(value: Any) -> np.ndarray:
    """Return an array or a tensor as an array; of what NumPy does not know, such as bfloat16, as float32."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    return np.asarray(value.float() if value.is_floating_point() else value)


def asked_picture(value: Any, region: Region) -> Any:
    """Return an image of PIL's that is dark outside of a region, with a line around it.

    Args:
        value: The sample as people see it. What is no image is white.
        region: What is asked for.

    Raises:
        ValueError: If the image has another size.
    """
    with needs("Images for people", "Pillow", "labels"):
        from PIL import Image

    asked = region.pixels
    if is_image(value):
        pixels = np.array(image_of(value).convert("RGB"))
    else:
        pixels = np.full((*asked.shape, 3), 255, dtype=np.uint8)
    if pixels.shape[:2] != asked.shape:
        sizes = [" x ".join(map(str, shape[1::-1])) for shape in (pixels.shape, asked.shape)]
        raise ValueError(
            f"People are shown an image of {sizes[0]} pixels, and the dataset gives it with {sizes[1]} (width x "
            "height): what is asked for has no place in it."
        )
    dark = np.rint(pixels * _BESIDE).astype(np.uint8)
    picture = np.where(asked[..., None], pixels, dark)
    picture[_grown(asked) & ~asked] = _LINE
    return Image.fromarray(picture)


def _grown(pixels: np.ndarray) -> np.ndarray:
    """Return which pixels are among some, or touch one of them."""
    height, width = pixels.shape
    padded = np.pad(pixels, 1)
    shifts = [padded[down : down + height, right : right + width] for down in range(3) for right in range(3)]
    return np.logical_or.reduce(shifts)


def picture_file(value: Any, region: Region) -> bytes:
    """Return :func:`asked_picture` as a PNG that knows which region it shows."""
    with needs("Images for people", "Pillow", "labels"):
        from PIL.PngImagePlugin import PngInfo

    entries = PngInfo()
    entries.add_text(_ENTRY, region.name)
    file = io.BytesIO()
    asked_picture(value, region).save(file, format="PNG", pnginfo=entries)
    return file.getvalue()


def is_picture(path: Path) -> bool:
    """Whether a file is such a picture, and no mask: it is called so, and has colours."""
    with needs("Images for people", "Pillow", "labels"):
        from PIL import Image

    if not path.name.endswith(PICTURE):
        return False
    try:
        with Image.open(path) as image:
            return image.mode in ("RGB", "RGBA")
    except OSError:
        return False


def region_beside(path: Path) -> str:
    """Return the name of the region that the picture beside a mask shows; empty where there is none."""
    with needs("Images for people", "Pillow", "labels"):
        from PIL import Image

    try:
        with Image.open(path.with_name(picture_name(path.name))) as image:
            return str(image.info.get(_ENTRY, ""))
    except OSError:
        return ""


def picture_name(name: str) -> str:
    """Return what the picture is called that is beside a mask.

    Example:
        >>> picture_name("cat/1.png")
        'cat/1.asked.png'
    """
    return name.removesuffix(".png") + PICTURE
