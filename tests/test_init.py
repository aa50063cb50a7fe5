"""What `import lightning_al` gives, without waiting for torch."""

import subprocess
import sys

import lightning_al
from tests.helpers.anew import imported_anew

ROOMS = [
    "acquisition",
    "campaign",
    "data",
    "functional",
    "gradients",
    "nn",
    "oracle",
    "report",
    "stopping",
    "tasks",
    "training",
    "zoo",
]


def test_public_rooms_are_there_without_an_import_of_their_own():
    code = f"import lightning_al; found = [getattr(lightning_al, room).__name__ for room in {ROOMS}]"
    assert imported_anew(code)["found"] == [f"lightning_al.{room}" for room in ROOMS]
    for room in ROOMS:  # each by itself: one brings others with it
        assert room in dir(lightning_al)


def test_a_star_brings_names_and_no_rooms():
    names = {}
    exec("from lightning_al import *", names)
    assert set(lightning_al.__all__) <= set(names)
    assert not set(ROOMS) & set(names)
    assert set(ROOMS) < set(dir(lightning_al))


def test_torch_is_imported_only_when_a_name_is_used():
    code = """
import sys
sys.modules["torch"] = None  # so that importing it fails at once
import lightning_al
try:
    lightning_al.Pool
except ImportError as error:
    assert error.name == "torch", error
else:
    raise AssertionError("came without torch")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
