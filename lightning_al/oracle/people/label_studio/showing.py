"""What people are shown of a sample: a text, an image in a file that the server reads, or one in the task itself."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from lightning_al.extras import needs
from lightning_al.oracle.people.pictures import asked_picture, image_of, is_sight, sight_of
from lightning_al.oracle.regions import Region
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.base import Task
from lightning_al.tasks.keys import file_of
from lightning_al.tasks.texts import entries_of, given_text, input_entries
from lightning_al.words import shown

Show = Callable[[Any, int], Any]
"""Of a dataset and an index: a text, the path of an image, or an image."""

PICTURES = "lightning_al_pictures"
"""The folder below the server's that has the pictures of parts of images."""

_MOST_BYTES = 2**20
"""Of an image in a task; the server keeps each there, and sends them with every list of tasks."""

_KINDS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".gif": "gif", ".webp": "webp", ".bmp": "bmp"}


class Shown(NamedTuple):
    """What a task shows.

    Args:
        kind: ``"image"`` or ``"text"``.
        value: The text, or where the image is.
        size: Of the image, where it is asked for.
        folder: The folder that the server must hand files out of, if any.
    """

    kind: str
    value: str
    size: tuple[int, int] | None = None
    folder: str | None = None


class Showing:
    """Shows samples to people.

    Args:
        show: What is shown of a sample: a function, or the entry of the sample. None: the file that the dataset lists
            for it, what its ``sample_text(index)`` says, or else the first entry that is a text or an image, of those
            that the model sees before others.
        files: The folder that the server reads files from (its ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``). None:
            images go into the tasks.
        with_size: Whether sizes of images are needed.
        task: Knows which entries the model sees; None: nobody does.
    """

    def __init__(
        self, show: Show | int | str | None, files: str | None, with_size: bool, task: Task | None = None
    ) -> None:
        self.show = show
        self.files = None if files is None else Path(files).absolute()
        self.with_size = with_size
        self.task = task

    def __call__(self, dataset: Any, index: int, part: Region | None = None) -> Shown:
        """Return what is shown of a sample.

        Args:
            dataset: Un-augmented.
            index: Of the sample.
            part: What is asked for of it: the rest of the image is dark then, so that it is a picture of its own, in
                the task itself, or with ``files`` in a folder below it.

        Raises:
            ValueError: If there is neither a text nor an image in it, or its file cannot be shown.
            OSError: If the picture of a part cannot be written.
        """
        value = self._value(dataset, index)
        if isinstance(value, str):
            path = Path(value)
            if path.suffix.lower() not in _KINDS or "\n" in value or not path.is_file():
                return Shown("text", value)
            value = path
        if isinstance(value, PurePath):
            if part is None:
                return self._file(Path(value))
            value = _opened(Path(value))
        image = image_of(value) if part is not None or self.with_size else sight_of(value)
        if part is not None:
            try:
                image = asked_picture(image, part)
            except ValueError as error:
                raise ValueError(f"{error} Show the sample itself: `show=` with the entry of its image.") from None
            if self.files is not None:
                return self._beside(image, self.files / PICTURES)
        return Shown("image", _uri(*_packed(image)), image.size if self.with_size else None)

    def _value(self, dataset: Any, index: int) -> Any:
        if callable(self.show):
            return self.show(dataset, index)
        if self.show is None:
            path = file_of(dataset, index)
            if path is not None and path.suffix.lower() in _KINDS and Path(path).is_file():
                return path
            text = given_text(dataset, index)
            if text is not None:
                return text
        sample = dataset[index]
        if self.show is not None:
            try:
                return sample[self.show]
            except (KeyError, IndexError, TypeError):
                raise ValueError(f"`show={self.show!r}` is no entry of the samples, as {shown(sample)}.") from None
        seen = [] if self.task is None else input_entries(self.task, sample)
        for _, entry in [*seen, *entries_of(sample)]:
            if isinstance(entry, (str, PurePath)) or is_sight(entry):
                return entry
        raise ValueError(
            f"There is neither a text nor an image in the sample of dataset index {index}: {shown(sample)}. Say what "
            "people are to be shown: `show=` with the entry of the sample, or a function of dataset and index."
        )

    def _beside(self, image: Any, folder: Path) -> Shown:
        """Write a picture, called by what is in it, where the server reads files."""
        kind, content = _packed(image)
        path = folder / f"{hashlib.sha256(content).hexdigest()}.{kind}"
        if not path.exists():
            with atomic_write(path) as file:
                file.write(content)
        return self._served(path, image.size if self.with_size else None)

    def _served(self, path: Path, size: tuple[int, int] | None) -> Shown:
        below = path.relative_to(self.files or "")
        where = f"/data/local-files/?d={quote(below.as_posix())}"
        return Shown("image", where, size=size, folder=str((self.files or Path()) / below.parts[0]))

    def _file(self, path: Path) -> Shown:
        path = path.absolute()
        size = _size_of(path) if self.with_size else None
        if self.files is not None:
            if not path.is_relative_to(self.files) or path.parent == self.files:
                raise ValueError(
                    f"{path} is not in a subfolder of `files={str(self.files)!r}`, the folder that the server reads "
                    "files from (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT)."
                )
            return self._served(path, size)
        content = path.read_bytes()
        if len(content) > _MOST_BYTES:
            raise ValueError(
                f"{path} has {len(content) / 2**20:.1f} MiB, too much for a task, which would hold the image itself. "
                "Let the server read files: start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, and name that folder: `files=`."
            )
        return Shown("image", _uri(_KINDS[path.suffix.lower()], content), size=size)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _packed(image: Any) -> tuple[str, bytes]:
    """Return an image as PNG, or as JPEG where that is large, and which it is."""
    file = io.BytesIO()
    image.save(file, "PNG")
    if len(file.getvalue()) <= _MOST_BYTES // 4:
        return "png", file.getvalue()
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return "jpeg", file.getvalue()


def _opened(path: Path) -> Any:
    with needs("Label Studio", "Pillow", "label-studio"):
        from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _size_of(path: Path) -> tuple[int, int]:
    with needs("Label Studio", "Pillow", "label-studio"):
        from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
    return width, height
