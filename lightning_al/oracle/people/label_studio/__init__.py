"""Questions and answers by way of a project in Label Studio, over its HTTP interface."""

from lightning_al.oracle.people.label_studio.oracle import LabelStudio

__all__ = ["LabelStudio"]
