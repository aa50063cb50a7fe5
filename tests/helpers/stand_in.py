"""A script in the place of Python, so that what starts processes costs nothing."""

import stat
import sys


def stand_in_for_python(folder, script, monkeypatch):
    """Have processes that are started with this Python run a script of the shell, which is put into a folder."""
    path = folder / "python"
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))
