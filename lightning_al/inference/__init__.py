"""Running a model to look at it: ``eval()``, full precision, other weights, nothing left behind."""
