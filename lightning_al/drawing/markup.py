"""HTML made of Python values: all that is no HTML already is escaped."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Control characters have no place in HTML; lone surrogates, of file names that are no UTF-8, none in a file.
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_VOID = frozenset({"img", "meta", "br", "rect", "line", "path", "circle", "polyline", "polygon"})
_CODE = re.compile("`([^`\n]+)`")
_MAY_BREAK = re.compile(r"(?<=[/\\_-])|(?<=.)(?=\.)")  # where a long name is told apart into lines
LONGEST = 160
"""Letters of a key, a name or a value; the rest is cut."""


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def escape(value: Any) -> Html:
    """Return a value as HTML; what is HTML stays as it is.

    Example:
        >>> escape("<script>"), escape(Html("<b>x</b>"))
        ('&lt;script&gt;', '<b>x</b>')
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(_NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Return an element.

    Args:
        name: Of it.
        *children: What is in it; None is left out.
        **attributes: Values; True stands for the name alone, None for no attribute. ``class_`` is the class, and other
            underscores are dashes.

    Example:
        >>> tag("p", "a < b", class_="x", data_n=3, hidden=True)
        '<p class="x" data-n="3" hidden>a &lt; b</p>'
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        called = key.rstrip("_").replace("_", "-")
        words.append(called if value is True else f'{called}="{escape(value)}"')
    start = " ".join(words)
    inside = "".join(escape(child) for child in children if child is not None)
    if name in _VOID and not inside:
        return Html(f"<{start}/>")
    return Html(f"<{start}>{inside}</{name}>")


def joined(parts: Iterable[Any]) -> Html:
    """Return parts one after another; None is left out."""
    return Html("".join(escape(part) for part in parts if part is not None))


def name_of(text: Any) -> Html:
    """Return a name that comes from the data, cut, in a direction of its own; narrow lines break it between its parts.

    Example:
        >>> name_of("night/a_07.png")
        '<bdi>night/<wbr>a_<wbr>07<wbr>.png</bdi>'
    """
    whole = str(text)
    shown = whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"
    first, *others = _MAY_BREAK.split(shown)
    return tag("bdi", first, *(joined([Html("<wbr>"), part]) for part in others if part))


def prose(text: Any) -> Html:
    """Return a text of sentences, with what stands between two backticks as code; what is HTML stays as it is.

    Example:
        >>> prose("Run `a < b`, or a ` alone.")
        'Run <code>a &lt; b</code>, or a ` alone.'
    """
    if isinstance(text, Html):
        return text
    parts = _CODE.split(str(text))
    return joined(tag("code", part) if place % 2 else part for place, part in enumerate(parts))


def paragraphs(texts: Iterable[Any]) -> Html:
    """Return each text as a paragraph, see :func:`prose`."""
    return joined(tag("p", prose(text)) for text in texts)


def table(rows: Sequence[Sequence[Any]], caption: Any = None, *, name: str | None = None) -> Html:
    """Return rows as a table: the first one is its header, and the first cell of each other one is what it is of.

    Args:
        rows: Cells.
        caption: Above it.
        name: Its id.
    """
    head, *body = rows
    return tag(
        "div",
        tag(
            "table",
            None if caption is None else tag("caption", caption),
            tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
            tag(
                "tbody",
                *(
                    tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in others))
                    for first, *others in body
                ),
            ),
            id=name,
        ),
        class_="wide",
        # What scrolls must be reached by keys too.
        tabindex="0",
        role="region",
        aria_label=caption if caption is not None and not isinstance(caption, Html) else "table",
    )


def details(summary: Any, *children: Any, open: bool = False) -> Html:
    """Return what is shown when it is asked for, and on paper."""
    return tag("details", tag("summary", summary), *children, open=open)


def section(title: str, *children: Any, name: str) -> Html:
    """Return a part of the page with its heading; empty where nothing is in it."""
    inside = [child for child in children if child]
    return tag("section", tag("h2", title, id=f"{name}-title"), *inside, id=name) if inside else Html("")
