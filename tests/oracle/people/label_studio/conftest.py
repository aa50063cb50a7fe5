"""A small Label Studio, and oracles that ask there."""

import pytest

from tests.helpers.fake_label_studio import Fake, serving
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
