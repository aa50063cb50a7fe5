"""Detection: a class for each of any number of boxes, and where torchvision's detectors take theirs from."""
