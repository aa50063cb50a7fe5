"""Settings and texts without tokens and passwords, for what others are shown."""

import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "(left out)"
"""Stands in the place of a secret."""

_SECRET = re.compile(
    r"(?:^|[_.-])(?:token|(?:access|auth|api|refresh|session)[_-]tokens|passwords?|passwd|pwd|pass(?:phrase|code)?"
    r"|secrets?|credentials?|auth|authorization|api[_-]?keys?"
    r"|(?:access|secret|private|account|auth|ssh|encryption|license)[_-]keys?(?:[_-]id)?|(?:set[_-])?cookies?"
    r"|sig|signature|connection[_-]string)$",
    re.IGNORECASE,
)
"""Names of what nobody else is to see, words apart by _, . or -."""
_TECHNICAL = re.compile(
    r"(?:cls|bos|eos|sep|pad|unk|mask|dist|class|image)_token|(?:low|high|band|forward)_pass", re.IGNORECASE
)
"""Names that end like one of these, and are of a vocabulary or a filter."""
_ORDINARY = re.compile(r"token|cookies?|(?i:pass|secrets?|credentials?|auth|sig|signature)")
"""Names that are words too, as of a class or an entry of a batch: of two words alone none need be a name."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s]+(?=@)")
_BEFORE_HOST = re.compile(r"(?<![\w.+:/-])[\w.+-]+:[^\s/\\]{1,200}(?=@(?!sha256:|\d+(?:\.\d+)?(?![\w.]))[\w\[])")
"""A user and a password in an address without a scheme; a container's hash is no host, and ``recall@10`` is none."""
_ASSIGNED = re.compile(
    r"""(?P<name>(?<![\w-])[\w-]+)(?P<between>=|["']?:\s+|["']:)"""
    r"""(?P<value>(?:(?:Bearer|Basic|Token|Digest)\s+)?(?:'[^']*'|"[^"]*"|[^\s&;,)]+))"""
)
"""A setting within a text: of an address (``?token=abc``), a command, a header, an object as it is printed."""
_FLAG = re.compile(r"(?P<name>(?<![\w-])--?[\w-]+)(?P<between>\s+)(?P<value>'[^']*'|\"[^\"]*\"|[^\s-]\S*)")
"""An option of a command with its value as the next word."""
_SAID = re.compile(
    r"(?<![\w\s])\s*(?:Bearer\s+\S+|(?:Basic|Token)\s+(?=\S*[A-Z\d=])\S{12,})\s*$|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)
"""A secret that shows what it is: the value of a header, and not two words; the text of a key."""
_NAMES = ("name", "key", "header", "option")


def without_secrets(value: Any, name: str = "") -> Any:
    """Return settings without tokens and passwords: what is shown to others.

    A value is secret by its name: in a dict, beside it in a pair, or after it in the words of a command.

    Example:
        >>> without_secrets({"token": "abc", "url": "http://me:pw@host/", "max_epochs": 3})
        {'token': '(left out)', 'url': 'http://(left out)@host/', 'max_epochs': 3}
        >>> without_secrets([["Authorization", "abc"], ["Accept", "*/*"]]), without_secrets(["--token", "abc", "run"])
        ([['Authorization', '(left out)'], ['Accept', '*/*']], ['--token', '(left out)', 'run'])
    """
    if value is not None and not isinstance(value, bool) and is_secret(name):
        return HIDDEN
    if isinstance(value, dict):
        named = next((value[key] for key in _NAMES if "value" in value and isinstance(value.get(key), str)), "")
        return {key: without_secrets(each, named if key == "value" else str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return _listed(value)
    return text_without_secrets(value) if isinstance(value, str) else value


def _listed(values: Sequence[Any]) -> list[Any]:
    are_pairs = all(_is_pair(each) for each in values)
    shown = []
    for before, each in zip([None, *values], values, strict=False):
        if are_pairs:
            shown.append([each[0], without_secrets(each[1], each[0])])
        else:
            shown.append(without_secrets(each, _name_of_next(before, count=len(values))))
    return shown


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _name_of_next(word: Any, *, count: int) -> str:
    """Return the name that the word before a value gives it, in a list of so many; nothing, if it gives none."""
    if not isinstance(word, str):
        return ""
    is_pair = count == 2 and _ORDINARY.fullmatch(word) is None
    return word if word.startswith("-") or is_pair else ""


def text_without_secrets(text: str) -> str:
    """Return a text without the tokens and passwords that addresses and settings in it have.

    Example:
        >>> text_without_secrets("https://me:p@ss@host/x?token=abc&page=2"), text_without_secrets("Bearer abc")
        ('https://(left out)@host/x?token=(left out)&page=2', '(left out)')
        >>> text_without_secrets("me:pw@host/x"), text_without_secrets("run --token abc, X-Token: abc")
        ('(left out)@host/x', 'run --token (left out) X-Token: (left out)')
    """
    text = _SAID.sub(HIDDEN, _BEFORE_HOST.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, text)))
    for said in (_ASSIGNED, _FLAG):
        text = said.sub(lambda found: found["name"] + found["between"] + _value_of(found), text)
    return text


def _value_of(found: re.Match[str]) -> str:
    return HIDDEN if is_secret(found["name"]) else found["value"]


def is_secret(name: str) -> bool:
    """Whether what has this name, of a setting, a header or an option, is nobody else's to see.

    Example:
        >>> [is_secret(name) for name in ("token", "--api-key", "clientSecret", "tokenizer", "key")]
        [True, True, True, False, False]
    """
    words = _HUMP.sub("_", name.strip("- :"))
    return _SECRET.search(words) is not None and _TECHNICAL.fullmatch(words) is None
