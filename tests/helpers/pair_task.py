"""A task of pairs (input, target), with the base's labels."""

from lightning_al.tasks.base import Task


class PairTask(Task):
    def inputs(self, batch):
        return batch[0]

    def targets(self, batch):
        return batch[1]

    def with_label(self, sample, label):
        return sample[0], label
