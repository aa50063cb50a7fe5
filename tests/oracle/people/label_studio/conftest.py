"""A small Label Studio, and oracles that ask there; and the real one, for slow tests."""

import pytest

from tests.helpers.fake_label_studio import Fake, serving
from tests.helpers.label_studio_server import RealServer
from tests.oracle.people.label_studio.asking import Asking


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def url(fake):
    with serving(fake) as url:
        yield url


@pytest.fixture
def make(tmp_path, url, monkeypatch):
    def make(**options):
        return Asking(tmp_path, options.pop("url", url), monkeypatch, **options)

    return make


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RealServer(tmp_path_factory.mktemp("studio"))
    server.start()
    yield server
    server.stop()
