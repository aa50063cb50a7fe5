"""Parts of images beside a real Label Studio."""

import json

import numpy as np
import pytest

from lightning_al.oracle.people.label_studio.control import find_control
from lightning_al.oracle.people.label_studio.memory import FILE
from lightning_al.oracle.people.label_studio.results import to_results
from lightning_al.tasks.annotations import Mask
from tests.helpers.label_studio_server import TOKEN, Person
from tests.helpers.regions import VOID, labels_in
from tests.oracle.people.label_studio.test_regions import MASKS, NAMES, parts_of, run

pytest.importorskip("requests")
pytestmark = pytest.mark.slow


def test_parts_are_asked_predicted_and_taken(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    run(tmp_path, server.url)
    number, person = json.loads((tmp_path / "c" / FILE).read_text())["project"], Person(server.url)
    control = find_control(person.call("GET", f"/api/projects/{number}/")["label_config"], "mask")

    def paint_all():
        painted = []
        while (task := person.next_task(number)) is not None:
            n = int(task["data"]["key"].removeprefix("image_").split(".")[0])
            values = np.where(MASKS[n] == VOID, 0, MASKS[n])
            person.answer(task, to_results(Mask(values), control, classes=NAMES))
            painted.append((n, task))
        return painted

    assert len(paint_all()) == 2
    parts = []
    for status in ("waiting", "finished"):
        loop = run(tmp_path, server.url)
        parts.append(parts_of(loop))
        painted = paint_all()
        assert {n for n, _ in painted} == set(parts[-1])
        assert all(task["predictions"] for _, task in painted)
        before, loop = labels_in(loop.campaign), run(tmp_path, server.url)
        assert loop.status == status
        for n, part in parts[-1].items():
            values = np.where(MASKS[n] == VOID, 0, MASKS[n])
            earlier = before.get(n, np.full_like(values, VOID))
            assert (labels_in(loop.campaign)[n] == np.where(part.pixels, values, earlier)).all()
    assert len(person.tasks(number)) == 2 + sum(map(len, parts))
