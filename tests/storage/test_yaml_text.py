"""Options as YAML."""

import pytest
import yaml

from lightning_al.storage.yaml_text import yaml_text

LIKE_NUMBERS = [
    "1e3",
    "1E-3",
    "-1e5",
    "+1.e5",
    "1_0e2",
    ".5e2",
    "1.5e+10",
    "123",
    "1_000",
    "0x1F",
    "017",
    "12:30",
    "nan",
    ".nan",
    "-.inf",
]
OTHERS = ["true", "no", "null", "~", "", "2024-01-01", "e5", "1e", "a: b", "# c", "[a]", "é", "1e3 ", "x" * 200]


@pytest.mark.parametrize("text", [*LIKE_NUMBERS, *OTHERS])
def test_a_string_is_read_as_that_string(text):
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=dict[str, list[str]])
    data = {"a": [text, "b"]}
    assert yaml.safe_load(yaml_text(data)) == data
    assert parser.parse_string(yaml_text({"data": data})).data == data


def test_what_is_no_string_stays_what_it_is():
    data = {"b": 1e-5, "a": [1, 1e30, float("inf"), True, None, {}], "3": {3: ["x"]}}
    assert yaml.safe_load(yaml_text(data)) == data
    assert yaml_text(data).startswith("b: 1.0e-05\na:\n- 1\n")
