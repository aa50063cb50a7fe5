"""The package, built and installed, on other versions of Python, torch and Lightning: `nox --list`.

Nothing of this is needed to work on the package. torch is some gigabytes for each session; `uv` (`pip install nox uv`)
links what it has, and chooses the lowest versions.
"""

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["python"]

# Rooms whose code or whose tests lean on what Python and torch change: types, pickles, enums, exports of functions.
ROOMS = "acquisition campaign cli functional gradients inference loop storage tasks training"
TORCHVISION = {"2.11": "0.26", "2.12": "0.27", "2.13": "0.28", "2.14": "0.29"}


def try_out(session: nox.Session, *install: str) -> None:
    """Run what `tests/installed.py` does, without extras and with them, then the tests of some rooms."""
    session.install(".", *install)
    session.run("python", "tests/installed.py")
    session.install(".[all]", *install)
    session.run("python", "tests/installed.py")
    session.install("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100")
    session.run("python", "-m", "pytest", *(session.posargs or [f"tests/{room}" for room in ROOMS.split()]))


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def python(session: nox.Session) -> None:
    """The newest torch and Lightning."""
    try_out(session)


@nox.session(python="3.11")
@nox.parametrize("torch", list(TORCHVISION))
def torch(session: nox.Session, torch: str) -> None:
    """Each torch that is supported, with the torchvision of its time."""
    try_out(session, f"torch=={torch}.*", f"torchvision=={TORCHVISION[torch]}.*")


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The lowest versions that `pyproject.toml` allows."""
    try_out(session, "--resolution", "lowest-direct")
