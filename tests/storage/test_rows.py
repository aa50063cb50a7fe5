import tempfile

import pytest
import torch

from lightning_al.storage.rows import RowStore


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(10,), (10, 3), (10, 2, 2)])
@pytest.mark.parametrize("inference", [False, True])
def test_rows_past_the_limit_are_in_a_file_that_vanishes(tmp_path, monkeypatch, dtype, shape, inference):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    values = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    stores = RowStore(10), RowStore(10, limit=values.nbytes), RowStore(10, limit=values.nbytes - 1)
    for store in stores:
        with torch.inference_mode(inference):
            for part in values.split([4, 1, 5]):
                store.add(part.clone())
        assert torch.equal(store.rows(), values)
        assert not store.rows().is_inference()
    assert is_mapped(tmp_path)
    assert list(tmp_path.iterdir()) == []
    del store, stores
    assert not is_mapped(tmp_path)


def is_mapped(folder):
    with open("/proc/self/maps") as maps:
        return any(str(folder) in line for line in maps)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_fewer_or_more_rows_than_were_said_to_come(limit):
    store = RowStore(3, limit)
    store.add(torch.ones(2))
    assert store.rows().tolist() == [1, 1]
    store.add(torch.zeros(2))
    assert store.filled == 4
