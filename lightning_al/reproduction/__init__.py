"""What the papers report, beside what their recipes give here: which results there are, their runs, their tables."""
