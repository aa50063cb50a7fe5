import tempfile

import pytest
import torch

from lightning_al.distributed.ranks import check_same_on_every_rank, gather_objects, gather_rows
from lightning_al.storage import rows as storage
from tests.helpers.ranks import in_processes


@pytest.mark.few(2)
@pytest.mark.parametrize("lengths", [(3, 1), (0, 2), (2, 0, 1), (0, 0)])
def test_unequal_rows_come_together_in_rank_order(lengths):
    def rows(rank):
        n, start = lengths[rank], sum(lengths[:rank])
        if n == 0:
            return {}
        values = torch.arange(start, start + n)
        return {"a": values.double(), "b": torch.stack([values, -values], 1)}

    def gather(rank):
        return {k: v.tolist() for k, v in gather_rows(rows(rank), torch.device("cpu")).items()}

    n = sum(lengths)
    expected = {"a": [float(i) for i in range(n)], "b": [[i, -i] for i in range(n)]} if n else {}
    assert in_processes(gather, len(lengths)) == [expected] * len(lengths)


@pytest.mark.few(3)
@pytest.mark.parametrize("lengths", [(3, 1), (0, 5), (2, 0, 4)])
@pytest.mark.parametrize("block", [1, 40])
def test_rows_travel_in_blocks_to_those_who_want_them(tmp_path, monkeypatch, lengths, block):
    monkeypatch.setattr(storage, "BLOCK_BYTES", block)
    monkeypatch.setattr(storage, "LIMIT", 7)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = torch.arange(sum(lengths) * 2.0).view(-1, 2)

    def gather(rank):
        start = sum(lengths[:rank])
        mine = whole[start : start + lengths[rank]]
        got = gather_rows({"a": mine} if len(mine) else {}, torch.device("cpu"), keep=rank == 0)["a"]
        with open("/proc/self/maps") as maps:
            mapped = any(str(tmp_path) in line for line in maps)
        return got.tolist(), got.shape[1], mapped

    first, *others = in_processes(gather, len(lengths))
    assert first == (whole.tolist(), 2, True)
    assert others == [([], 2, False)] * len(others)


def test_disagreement_is_named():
    def compare(rank):
        check_same_on_every_rank(rank // 2, "the labelled samples")
        return "fine"

    for result in in_processes(compare, 3):
        assert "disagree about the labelled samples: {0: 0, 1: 0, 2: 1}" in result


def test_one_process_needs_no_group():
    assert gather_objects(3) == [3]
    rows = {"a": torch.ones(2)}
    assert gather_rows(rows, torch.device("cpu"))["a"].tolist() == [1, 1]
    check_same_on_every_rank(1, "anything")
