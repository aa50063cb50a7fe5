"""What every test gets: one thread per process, and nothing left behind of distributed runs.

What takes seconds to import is imported where it is used: where workers run the tests, the process that sends them on
has no need of it, and they wait for that one.
"""

import functools
import os
import shutil
import tempfile
import zlib
from collections import defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from _pytest.doctest import DoctestModule

# Campaigns are made safe on disk at every step, which a disk takes its time for. Memory does not, where it is enough.
_MEMORY = "/dev/shm"
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2**31:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)

_LEAKS = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")


_NOTES = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session):
    """Before any test is read, find out whether slow tests run too, and where `lightning` writes its notes."""
    if session.config.getoption("dist", "no") == "no":  # else workers read them
        from lightning.pytorch.utilities.rank_zero import rank_zero_module

        from tests.helpers import extent

        extent.begin(session.config.option.markexpr != "not slow")
        session.config.stash[_NOTES] = rank_zero_module.log


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Look for no examples in the docstrings of the tests themselves: there are none, and it takes seconds."""
    found = yield
    return [each for each in found if not isinstance(each, DoctestModule)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave all but a few cases of a test to `make test-slow`: those that bring the most values not tried yet."""
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("slow"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for cases in tests.values():
        left = sorted(cases, key=lambda item: zlib.crc32(item.nodeid.encode()))
        tried = set()
        for _ in range(cases[0].get_closest_marker("few").args[0]):
            if left:
                best = max(left, key=lambda item: len(item.callspec.indices.items() - tried))
                left.remove(best)
                tried |= best.callspec.indices.items()
        for item in left:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _temporary_files_beside_the_tests_own(tmp_path_factory):
    """Lightning leaves a folder for each `fit` on forked processes, torch a file for each error in one."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True, scope="session")
def _what_is_installed_is_looked_for_once():
    """Each Trainer goes through all of it for callbacks of others, which takes most of its making."""
    from lightning.fabric.utilities import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
        yield


@pytest.fixture(autouse=True, scope="session")
def _few_samples_go_by_the_rules():
    """They cost less by the plain loop, which is what the rules are held against."""
    from lightning_al.gradients import costs

    with pytest.MonkeyPatch.context() as patch:
        for each in (costs.CALL, costs.CALL_ON_MAPS):
            patch.setitem(each, "cpu", 0.0)
        yield


@pytest.fixture(autouse=True)
def _leave_nothing_behind(pytestconfig):
    import torch
    from lightning.pytorch.utilities.rank_zero import rank_zero_module

    from lightning_al.distributed.ranks import end_process_group

    torch.set_num_threads(1)
    rank_zero_module.log = pytestconfig.stash[_NOTES]  # whoever imports `pytorch_lightning` puts its own there
    before = {name: os.environ.get(name) for name in _LEAKS}
    yield
    end_process_group()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
