"""How a report looks, and the few lines of JavaScript that it does without on paper."""

from importlib import resources

LIGHT = {
    "back": "#ffffff",
    "card": "#f6f7f9",
    "ink": "#1b1f24",
    "soft": "#57606a",
    "rule": "#d5dae0",
    "link": "#0a5aa8",
    "c0": "#0072b2",
    "c1": "#c84e00",
    "c2": "#00795a",
    "c3": "#a8447e",
    "c4": "#866a00",
    "c5": "#5b4fc4",
    "c6": "#5f6670",
    "c7": "#007d8a",
}
"""Colours on white, each at least 3 : 1 beside it; told apart by their marks too."""

DARK = {
    "back": "#14171b",
    "card": "#1d2127",
    "ink": "#e8eaed",
    "soft": "#a7b0ba",
    "rule": "#3a424c",
    "link": "#7cc0ff",
    "c0": "#56b4e9",
    "c1": "#ff8a4c",
    "c2": "#2fd3a0",
    "c3": "#f09ac6",
    "c4": "#f0c93d",
    "c5": "#a99bff",
    "c6": "#b9c0c8",
    "c7": "#5ad1da",
}
"""The same on a dark ground."""


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def css() -> str:
    """Return the style sheet, with the colours of both grounds."""
    curves = "".join(f".s{i}{{--c:var(--c{i})}}" for i in range(8))
    light, dark = _variables(LIGHT), _variables(DARK)
    grounds = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return grounds + curves + _file("page.css").replace("/*light*/", light)


def script() -> str:
    """Return the JavaScript."""
    return _file("page.js")


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
