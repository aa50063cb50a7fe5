"""A report read back from its HTML by a parser that knows nothing of how it is made."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "rect", "line", "path", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """What is on a page: its tables by id, pictures, sections, texts; every element is closed where it must be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tables, self.images, self.sections, self.links, self.attributes = {}, [], [], [], []
        self.scripts, self.charts, self.tips, self.captions = 0, [], [], []
        self._open, self._table, self._words, self._goes_on = [], None, [], False
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    @property
    def text(self):
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "wbr":  # a place where a narrow line may end is no end of a word
            self._goes_on = True
            return
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._table = []
            self.tables[values.get("id", f"table {len(self.tables)}")] = self._table
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")
        elif tag == "img":
            self.images.append(values)
        elif tag == "section":
            self.sections.append(values["id"])
        elif tag == "script":
            self.scripts += 1
        elif tag == "svg" and values.get("class") == "chart":
            self.charts.append(values["aria-label"])
        elif tag == "title" and "svg" in self._open:
            self.tips.append("")
        elif tag == "figcaption":
            self.captions.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        self._goes_on = False
        if tag in VOID:
            return
        assert self._open[-1:] == [tag], f"{tag} closed within {self._open[-3:]}"
        self._open.pop()

    def handle_data(self, data):
        if {"style", "script"} & set(self._open):
            return
        if {"td", "th"} & set(self._open):
            self._table[-1][-1] += data
        if "title" in self._open and "svg" in self._open:
            self.tips[-1] += data
        if "figcaption" in self._open:
            self.captions[-1] += data
        if self._goes_on:
            self._words[-1] += data
            self._goes_on = False
        else:
            self._words.append(data)


def page_of(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path.stat().st_size < 3_000_000
    # Nothing is loaded: what is named anywhere is in the file itself.
    for _, name, value in page.attributes:
        if name in ("src", "href", "data", "poster", "srcset", "action", "xlink:href"):
            assert value.startswith(("data:image/", "#")), value
        assert not name.startswith("on"), name
    assert not re.search(r"@import|url\(", text.partition("<style>")[2].partition("</style>")[0])
    assert page.scripts == 1
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return page
