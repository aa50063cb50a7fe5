"""What every test gets: one thread per process, and nothing left behind of distributed runs."""

import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Campaigns are made safe on disk at every step, which a disk takes its time for. Memory does not, where there is enough.
_MEMORY = "/dev/shm"
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2**31:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)

import pytest
import torch

from lightning_al.distributed.ranks import end_process_group

_LEAKS = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")


@pytest.fixture(autouse=True, scope="session")
def _temporary_files_beside_the_tests_own(tmp_path_factory):
    """Lightning leaves a folder for each `fit` on forked processes, torch a file for each error in one."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _leave_nothing_behind():
    torch.set_num_threads(1)
    before = {name: os.environ.get(name) for name in _LEAKS}
    yield
    end_process_group()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
