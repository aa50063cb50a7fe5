"""Samples found by what files call them, and files called as samples are."""

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from lightning_al.oracle.people.files.entries import Entry
from lightning_al.words import shown

_DIGITS = re.compile(r"\d")
_MOST_COMPARED = 1000
_ALIKE = 0.75
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f]')


class Names:
    r"""Finds keys as files write them: as they are, or by other slashes, another Unicode form, without the suffix.

    Args:
        keys: All that there are, distinct.

    Example:
        >>> Names(["cat/1.jpg"]).find(Entry("cat\\\\\\\\1.jpg"))
        'cat/1.jpg'
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(keys)
        self._plain = self._by(_plain)
        self._stems = self._by(_stem)

    def _by(self, form: Callable[[str], str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for key in self._keys:
            found[form(key)].append(key)
        return found

    def find(self, entry: Entry) -> str | None:
        """Return the key of the sample that an entry means; None if there is none.

        Raises:
            ValueError: If several may be meant, or the key may be cut off.
        """
        for name in (entry.key, *entry.other_keys):
            key = self._find(name, without_suffix=entry.without_suffix and name == entry.key)
            if key is not None:
                if entry.cut == "key" and any(other != key and other.startswith(key) for other in self._keys):
                    raise ValueError(f"{shown(key)} may be the beginning of another key: the last line has no end.")
                return key
        return None

    def _find(self, name: str, *, without_suffix: bool) -> str | None:
        if name in self._keys:
            return name
        several = [self._plain.get(_plain(name), [])]
        if without_suffix:
            several.append(self._stems.get(_plain(name), []))
        for found in several:
            if len(found) > 1:
                raise ValueError(f"{shown(name)} may be any of {', '.join(map(repr, sorted(found)[:3]))}.")
            if found:
                return found[0]
        return None


def _plain(key: str) -> str:
    text = unicodedata.normalize("NFC", key.strip()).replace("\\", "/")
    return str(PurePosixPath(text)) if text else text


def _stem(key: str) -> str:
    path = PurePosixPath(_plain(key))
    return str(path.with_suffix("")) if path.suffix else str(path)


def meant_by(names: Iterable[str], keys: Iterable[str]) -> dict[str, str]:
    """Return which key was probably meant by names that are none: the one of the same file name, else one spelt alike.

    Numbers tell files apart that are called alike, so a key with others is never meant.

    Example:
        >>> meant_by(["1.png", "cta_7.png", "cat_8.png"], ["inbox/1.png", "cat_7.png", "dog_7.png"])
        {'1.png': 'inbox/1.png', 'cta_7.png': 'cat_7.png'}
    """
    of_file: dict[str, list[str]] = defaultdict(list)
    of_numbers: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        of_file[_file_name(key)].append(key)
        of_numbers["".join(_DIGITS.findall(key))].append(key)
    meant: dict[str, str] = {}
    for name in names:
        same_file = of_file.get(_file_name(name), [])
        alike = same_file or of_numbers.get("".join(_DIGITS.findall(name)), [])
        near = same_file if len(same_file) == 1 else difflib.get_close_matches(name, alike[:_MOST_COMPARED], 1, _ALIKE)
        meant.update((name, key) for key in near)
    return meant


def _file_name(key: str) -> str:
    return PurePosixPath(_plain(key)).name.casefold()


def files_of(keys: Sequence[str], suffix: str) -> list[str]:
    """Return what the files of samples are called: as they are, with another suffix; all different, below one folder.

    Raises:
        ValueError: If a key leaves the folder.

    Example:
        >>> files_of(["cat/1.jpg", "cat/2.jpg", "cat/2.png"], ".xml")
        ['cat/1.xml', 'cat/2.jpg.xml', 'cat/2.png.xml']
    """
    stems = [_stem(key) for key in keys]
    times = Counter(stems)
    names = []
    for key, stem in zip(keys, stems, strict=True):
        name = (stem if times[stem] == 1 else _plain(key)) + suffix
        if _UNSAFE.search(name) or ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise ValueError(
                f"No file in a folder of labels can be called after {shown(key)}: name a `.json` file, or give the "
                "dataset `sample_key(index)`, which names its samples."
            )
        names.append(name)
    return names
