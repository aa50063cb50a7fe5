"""The projects are scripts, not tests: they are run, never imported."""

collect_ignore = ["projects"]
