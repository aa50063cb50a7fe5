"""Scores of several predictions of one sample, in plain Python from lists of probabilities: (T, C)."""

import math


def entropy(p: list[float]) -> float:
    return -math.fsum(q * math.log(q) for q in p if q > 0)


def mean(rows: list[list[float]]) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def mean_entropy(rows: list[list[float]]) -> float:
    return entropy(mean(rows))


def bald(rows: list[list[float]]) -> float:
    return entropy(mean(rows)) - math.fsum(map(entropy, rows)) / len(rows)


def variation_ratio(rows: list[list[float]]) -> float:
    votes = [row.index(max(row)) for row in rows]
    return 1 - max(votes.count(c) for c in votes) / len(votes)
