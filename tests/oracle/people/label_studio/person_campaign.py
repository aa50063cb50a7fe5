"""One start of a campaign that asks in Label Studio, as a process of its own.

    python -m tests.oracle.people.label_studio.person_campaign FOLDER URL FILES [KILL_AT]

It ends by SIGKILL when it waits for the answer to the first request to a path with KILL_AT in it.
"""

import http.client
import json
import os
import signal
import sys
from pathlib import Path

from torch.utils.data import Dataset

from lightning_al.oracle import LabelStudio
from tests.helpers.projects import Data, loop_in, make_data, make_trainer

NAMES = ["low", "mid", "high"]
OPTIONS = {"initial": 6, "query_size": 3, "rounds": 3}


class Pictures(Dataset):
    """Rows of numbers that people see as pictures in files."""

    classes = NAMES

    def __init__(self, n, files):
        self.x, self.y = make_data(n)
        self.root, self.paths = str(files), [f"pool/{i}.png" for i in range(n)]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], 0  # nobody knows its class


class Shown(Data):
    def __init__(self, files):
        super().__init__()
        self.files = files

    def setup(self, stage):
        super().setup(stage)
        self.train = Pictures(self.n, self.files)


def loop(folder, files, oracle):
    return loop_in(folder, data=Shown(files), oracle=oracle, **OPTIONS)


def draw(files):
    """Make the pictures."""
    from PIL import Image

    (files / "pool").mkdir()
    x = make_data()[0]
    for index, row in enumerate((x * 40 + 128).clamp(0, 255).byte()):
        image = Image.fromarray(row.reshape(2, 2).numpy())
        image.resize((160, 160), Image.Resampling.NEAREST).save(files / f"pool/{index}.png")


def main(folder, url, files, kill_at=None):
    plain = http.client.HTTPConnection.putrequest
    wait = http.client.HTTPConnection.getresponse
    last = []

    def putrequest(self, method, path, *args, **options):
        last[:] = [f"{method} {path}"]
        return plain(self, method, path, *args, **options)

    def getresponse(self, *args, **options):
        if kill_at is not None and kill_at in last[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return wait(self, *args, **options)

    http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse = putrequest, getresponse
    campaign = loop(Path(folder), files, LabelStudio("Rows as pictures", url=url, files=files))
    campaign.run(make_trainer(folder, max_epochs=1), resume=True)
    history = [[r.round, r.labelled, r.picked, r.metrics, r.spent] for r in campaign.history]
    print(json.dumps({"status": campaign.status, "history": history}))


if __name__ == "__main__":
    main(*sys.argv[1:])
