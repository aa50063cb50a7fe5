"""The label config of a project: which of its tags takes the labels, what it shows, and what it offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from lightning_al.words import shown

_TAGS = {
    "class": ("Choices", "Choice"),
    "classes": ("Choices", "Choice"),
    "number": ("Number", None),
    "boxes": ("RectangleLabels", "Label"),
    "mask": ("BrushLabels", "Label"),
}
KINDS = tuple(_TAGS)
"""What a person says of a sample: a class, several classes, a number, boxes with classes, a class for each pixel."""

_SHOWN = {"image": ("Image",), "text": ("Text", "HyperText")}


@dataclass(frozen=True)
class Control:
    """The tag of a label config by which people answer.

    Args:
        kind: One of :data:`KINDS`.
        name: Its name in results, ``from_name``.
        to_name: The name of what it labels.
        field: The entry of a task's data that is shown.
        shows: ``"image"`` or ``"text"``.
        labels: What it offers, in the words of the config.
    """

    kind: str
    name: str
    to_name: str
    field: str
    shows: str
    labels: tuple[str, ...]

    def missing(self, classes: Sequence[str]) -> list[str]:
        """Return the classes that it does not offer."""
        return [] if self.kind == "number" else [name for name in classes if name not in self.labels]


def new_config(kind: str, shows: str, classes: Sequence[str]) -> str:
    r"""Return a label config for a new project.

    Example:
        >>> print(new_config("class", "text", ["a&b", "c"]).replace("><", ">\n<"))
        <View>
        <Choices name="label" toName="text" choice="single" showInline="true">
        <Choice value="a&amp;b" />
        <Choice value="c" />
        </Choices>
        <Text name="text" value="$text" />
        </View>
    """
    tag, entry = _TAGS[kind]
    view = ElementTree.Element("View")
    extra = {"choice": "single" if kind == "class" else "multiple", "showInline": "true"} if tag == "Choices" else {}
    # Above what it labels, which may be larger than the screen.
    control = ElementTree.SubElement(view, tag, {"name": "label", "toName": shows, **extra})
    if entry is not None:
        for name in classes:
            ElementTree.SubElement(control, entry, {"value": name})
    ElementTree.SubElement(view, _SHOWN[shows][0], {"name": shows, "value": f"${shows}"})
    return ElementTree.tostring(view, encoding="unicode")


def find_control(config: str, kind: str, name: str | None = None) -> Control:
    """Return the tag of a label config that takes answers of a kind.

    Args:
        config: The project's.
        kind: One of :data:`KINDS`.
        name: Which, where there are several.

    Raises:
        ValueError: If there is none or more than one, or it labels neither an image nor a text.
    """
    tag, entry = _TAGS[kind]
    try:
        view = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise ValueError(f"The label config is no XML ({error}): {shown(config)}.") from None
    of_name = {each.get("name"): each for each in view.iter() if each.get("name")}
    several = [each for each in view.iter(tag) if name in (None, each.get("name")) and _fits(each, kind)]
    if len(several) != 1:
        there = ", ".join(f"{each.tag} {key!r}" for key, each in of_name.items() if each.get("toName")) or "none"
        wanted = f"<{tag}>" if name is None else f"<{tag} name={name!r}>"
        choice = {"class": ' choice="single"', "classes": ' choice="multiple"'}.get(kind, "")
        raise ValueError(
            f"The label config needs one {wanted.replace('>', choice + '>')} for the labels of this task, and has "
            f"{len(several)}; its controls: {there}. Add one, or name the right one: `control=`."
        )
    control = several[0]
    to_name = control.get("toName") or ""
    target = of_name.get(to_name)
    shows = next((kind for kind, tags in _SHOWN.items() if target is not None and target.tag in tags), None)
    field = "" if target is None else target.get("value", "")
    if shows is None or not field.startswith("$"):
        raise ValueError(
            f"<{tag} name={control.get('name')!r}> of the label config labels {shown(to_name)}, which must be an "
            '<Image> or a <Text> with a `value="$..."`.'
        )
    entries = [] if entry is None else list(control.iter(entry))
    labels = tuple(each.get("alias") or each.get("value") or "" for each in entries)  # results have the alias
    return Control(kind, str(control.get("name")), to_name, field=field[1:], shows=shows, labels=labels)


def _fits(control: ElementTree.Element, kind: str) -> bool:
    several = (control.get("choice") or "single") == "multiple"
    return {"class": not several, "classes": several}.get(kind, True)
