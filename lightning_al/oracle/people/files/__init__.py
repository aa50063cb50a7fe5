"""Files that people label in: tables, JSON lines, COCO, VOC, masks; one file for each format, without torch."""

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.formats import FORMATS, read_labels, write_labels

__all__ = ["FORMATS", "Entry", "Reading", "read_labels", "write_labels"]
