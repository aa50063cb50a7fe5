"""Text files as people's programs save them: decoded, or refused with the place."""

import codecs
import re
from collections.abc import Iterable
from pathlib import Path

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def in_order(problems: Iterable[str]) -> list[str]:
    """Return what is wrong with files in the order of the places that each begins with.

    Example:
        >>> in_order(["a.csv, line 10: x", "b.csv, line 1: y", "a.csv, line 9: z"])
        ['a.csv, line 9: z', 'a.csv, line 10: x', 'b.csv, line 1: y']
    """

    def place(problem: str) -> list[str | int]:
        parts = re.split("([0-9]+)", problem.partition(": ")[0])  # texts and counts by turns
        return [int(part) if number % 2 else part for number, part in enumerate(parts)]

    return sorted(problems, key=place)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark, as Excel's "Unicode text".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is neither; the line is named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}." if not path.exists() else f"{path} is a folder.")
    data = path.read_bytes()
    if data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path} is a workbook (or another archive). Save it as `CSV UTF-8`.")
    encoding = next((name for mark, name in _BOMS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if encoding == "utf-16" or error.reason == "unexpected end of data":
            raise ValueError(
                f"{path}, line {line}: the file ends in the middle of a character, or is no {encoding.upper()}: is it "
                "whole? Save it again; nothing was taken from it."
            ) from None
        raise ValueError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02X} is not UTF-8. Save the file as UTF-8 (Excel: "
            "`CSV UTF-8`); nothing was taken from it."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: NUL characters, as of UTF-16 or a damaged file. Save it as UTF-8.")
    return text
