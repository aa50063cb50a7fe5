"""Answers, split into labels, skipped samples and what is no label."""

import pickle

import torch

from lightning_al import SKIP, ClassificationTask
from lightning_al.oracle import sort_answers
from lightning_al.oracle.answers import Answers


def test_answers_are_split():
    answers = sort_answers({3: torch.tensor(1), 4: SKIP, 9: 0}, ClassificationTask())
    assert answers == Answers({3: 1, 9: 0}, [4], {})
    assert repr(SKIP) == "SKIP"
    assert pickle.loads(pickle.dumps(SKIP)) is SKIP


def test_labels_are_those_that_a_resumed_process_reads():
    class Pairs(ClassificationTask):
        def encode_label(self, label):
            return label

    kept = [1, (2, 3)]
    labels = sort_answers({0: kept}, Pairs()).labels
    kept.append(4)
    assert labels == {0: [1, [2, 3]]}


def test_a_skip_counts_where_something_is_asked():
    answers = Answers({}, [1, 2, 3, 4], {})
    assert answers.of_changed({1: "a", 2: "b"}, [3]).skipped == [4]
    assert answers.of_changed({1: "a", 2: "b"}, [3], pending=[2, 4]).skipped == [2, 4]
