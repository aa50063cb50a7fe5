"""When a campaign is over."""

import pytest

from tests.helpers.projects import make_trainer
from tests.helpers.recorder import run


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("options", "labelled"),
    [
        ({"rounds": 0}, [6]),
        ({"rounds": None, "budget": 13}, [6, 10, 13]),  # the last query is cut to the budget
        ({"rounds": 1, "budget": 13}, [6, 10]),
        ({"rounds": 5, "budget": 10}, [6, 10]),
        ({"rounds": None, "query_size": 20}, [6, 26, 46, 60]),  # until the pool is empty
        ({"rounds": 9, "query_size": 30}, [6, 36, 60]),
    ],
)
def test_when_it_ends(tmp_path, options, labelled):
    _, history, _ = run(tmp_path, trainer=make_trainer(tmp_path, max_epochs=1), **options)
    assert [r.labelled for r in history] == labelled
    assert history[-1].picked == []
