"""Options as YAML that every reader takes for what they are."""

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Quotes strings that are numbers to readers of YAML 1.2, jsonargparse among them, and not to PyYAML: ``1e3``."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+\Z"),
    list("-+.0123456789"),
)


def yaml_text(data: Any) -> str:
    """Return plain data, of dicts, lists, strings, numbers, flags and None, as YAML.

    Example:
        >>> print(yaml_text({"dirpath": "1e3", "lr": 1e-3, "name": "a"}))
        dirpath: '1e3'
        lr: 0.001
        name: a
        <BLANKLINE>
    """
    return str(yaml.dump(data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))
