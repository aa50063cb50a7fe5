import math
import random
import traceback
import types

import numpy as np
import pytest
import torch

from lightning_al.distributed import randomness
from lightning_al.distributed.randomness import (
    Draws,
    Race,
    derive_seed,
    draws_undone,
    generator,
    seed_global,
    seed_reading,
)


def test_every_part_of_the_key_matters():
    keys = [(0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"), (0, "1", "a"), (0, 1, "a", 0)]
    seeds = [derive_seed(*k) for k in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= s < 2**63 for s in seeds)


def test_seeds_are_the_same_in_every_process_and_version():
    assert (
        derive_seed(0, 1, "select")
        == int.from_bytes(__import__("hashlib").sha256(b"(0, 1, 'select')").digest()[:8], "big") // 2
    )


def test_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(1, "x"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("seed", [seed_global, seed_reading])
def test_all_three_are_seeded(seed):
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(()))

    seed(3, "x")
    first = draw()
    draw()
    seed(3, "x")
    assert draw() == first
    seed_global(3, "x")
    assert draw() == first
    seed(4, "x")
    assert draw() != first


def test_no_stack_is_written_down_for_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(randomness, "_accelerator", lambda: None)
    monkeypatch.setattr(traceback, "format_stack", lambda *_: pytest.fail("a stack is written down"))
    seed_global(3, "x")
    assert torch.initial_seed() == derive_seed(3, "x")


def test_a_device_that_is_there_is_seeded_too(monkeypatch):
    seeded = []
    device = types.SimpleNamespace(manual_seed_all=seeded.append)
    monkeypatch.setattr(randomness, "_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "get_device_module", lambda kind: device if kind.type == "cuda" else None)
    seed_global(3, "x")
    assert seeded == [torch.initial_seed()] == [derive_seed(3, "x")]
    del device.manual_seed_all  # as that of MPS
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    seed_global(4, "x")
    assert seeded[1:] == [derive_seed(4, "x")]


def splitmix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def test_the_race_is_splitmix64_by_the_book():
    """Over more than one block of ids, small, large and negative."""
    gamma = 0x9E3779B97F4A7C15
    ids = torch.cat([torch.arange(70_000), torch.tensor([2**62, 2**63 - 1, -5])])
    race = Race(torch.Generator().manual_seed(3), ids)
    seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=torch.Generator().manual_seed(3)))
    for draw in (0, 1, 999):
        times = race.exponentials(draw)
        for i in (0, 1, 32_767, 32_768, 69_999, 70_000, 70_001, 70_002):
            state = splitmix((int(ids[i]) * gamma + seed) % 2**64)
            u = ((splitmix((state + (draw + 1) * gamma) % 2**64) >> 12) + 0.5) / 2**52
            assert float(times[i]) == pytest.approx(-math.log(u), rel=1e-14)


def test_race_times_are_independent_and_exponential():
    n = 200_000
    race = Race(torch.Generator().manual_seed(0), torch.arange(n))
    draws = [race.exponentials(d).clone() for d in range(4)]
    for times in draws:
        assert times.min() > 0
        edges = -(1 - torch.arange(101, dtype=torch.float64) / 100).log()  # a hundred equally likely bins
        counts = torch.histogram(times, edges.clamp(max=1e9)).hist
        assert float((counts - n / 100).square().sum() / (n / 100)) < 149  # chi-square, 99 degrees, p = 0.001
        assert abs(float(torch.corrcoef(torch.stack([times[1:], times[:-1]]))[0, 1])) < 4 / n**0.5  # id by id
    between = torch.corrcoef(torch.stack(draws)) - torch.eye(4)
    other = Race(torch.Generator().manual_seed(1), torch.arange(n)).exponentials(0)
    assert float(between.abs().max()) < 4 / n**0.5  # draw by draw
    assert abs(float(torch.corrcoef(torch.stack([draws[0], other]))[0, 1])) < 4 / n**0.5  # seed by seed
    bits = (-draws[0]).exp()  # the uniforms: their leading bits, each fair
    for bit in range(1, 20):
        assert abs(float((bits * 2**bit).floor().remainder(2).mean()) - 0.5) < 4 * 0.5 / n**0.5


def test_race_winners_follow_the_weights():
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0, 12.0], dtype=torch.float64)
    n = 4000
    race = Race(torch.Generator().manual_seed(2), torch.tensor([3, 14, 15, 92, 65]))
    counts = torch.bincount(
        torch.tensor([int((weights / race.exponentials(draw)).argmax()) for draw in range(n)]), minlength=5
    )
    expected = n * weights[1:] / weights.sum()
    assert counts[0] == 0
    assert float(((counts[1:] - expected).square() / expected).sum()) < 16.3  # chi-square, 3 degrees, p = 0.001


def test_a_race_takes_one_number_from_its_generator():
    a, b = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    Race(a, torch.arange(3)), Race(b, torch.arange(500))
    assert torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b))
    assert Race(a, torch.arange(0)).exponentials(0).shape == (0,)


def test_draws_are_undone_and_no_gpu_is_begun_for_it(monkeypatch):
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(()))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(
        torch.cuda, "get_rng_state_all", lambda: pytest.fail("a process that has begun cannot be forked")
    )
    with draws_undone():
        inside = draw()
    assert draw() == inside


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(1)])
def test_a_draw_is_noticed_and_undone(draw):
    before = Draws()
    assert not before.are_taken()
    first = draw()
    assert before.are_taken()
    before.put_back()
    assert not before.are_taken()
    assert draw() == first
