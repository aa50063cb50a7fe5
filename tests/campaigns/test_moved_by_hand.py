"""Files that somebody moves, or copies, from the unlabelled ones to those of a class, between starts."""

import shutil

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from tests.helpers.beside import KNOWN, file_of, make_folders, row_of
from tests.helpers.moving import Y
from tests.helpers.projects import Net, make_trainer
from tests.helpers.recorder import Recorder


class Rounds:
    """Starts the same campaign again and again, each time on the folders as they are."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.folders = make_folders(tmp_path / "data")
        self.root = tmp_path / "data"

    def ask(self, **options):
        self.loop = ActiveLearningLoop(
            Net(),
            make_folders(self.root, (), ()),
            **{"initial": 0, "query_size": 3, "dirpath": self.tmp_path / "c", "oracle": AwaitTell(), **options},
        )
        self.recorder = Recorder()
        asked = self.loop.ask(make_trainer(self.tmp_path, self.recorder, max_epochs=1))
        return [self.row(i) for i in asked]

    def row(self, index):
        return int(self.loop.datamodule.sample_keys.name(index).removesuffix(".txt"))

    def index(self, row):
        [index] = self.loop.datamodule.sample_keys.places([f"{row}.txt"]).values()
        return index

    def tell(self, rows, label=None):
        self.loop.tell([self.index(r) for r in rows], [int(Y[r]) if label is None else label for r in rows])

    def move(self, row):
        file_of(self.root, row, True).parent.mkdir(exist_ok=True)
        file_of(self.root, row, False).rename(file_of(self.root, row, True))

    def trained(self):
        """Rows and labels of an epoch."""
        pairs = [pair for x, y in self.loop.datamodule.train_dataloader() for pair in zip(x, y, strict=True)]
        return sorted((row_of(x), int(y)) for x, y in pairs)


def labels(rows):
    return sorted((row, int(Y[row])) for row in rows)


def test_whatever_became_of_them_before(tmp_path, caplog):
    """One that was told, one that is pending, one that was never asked for."""
    rounds = Rounds(tmp_path)
    told, wrong, pending = rounds.ask()
    rounds.tell([told])
    rounds.tell([wrong], label=(int(Y[wrong]) + 1) % 3)
    free = next(row for row in range(42, 58) if row not in (told, wrong, pending))
    for row in (told, wrong, pending, free):
        rounds.move(row)
    with caplog.at_level("INFO"):
        asked = rounds.ask()
    assert not {told, wrong, pending, free} & set(asked)
    assert rounds.trained() == labels([*KNOWN, told, wrong, pending, free])  # with the labels of their folders
    assert rounds.loop.pool.spent == 2
    assert len(rounds.loop.pool.pending) == 3
    assert "2 that had a label are in the training set now" in caplog.text
    assert "1 that had none, of 1 that are gone, are in the training set now" in caplog.text
    assert "12 samples of the training set are labelled already (8 when" in caplog.text
    file_of(rounds.root, told, True).rename(file_of(rounds.root, told, False))  # and back
    rounds.ask()
    assert rounds.trained() == labels([*KNOWN, told, wrong, pending, free])
    assert rounds.loop.campaign.labels == {rounds.index(told): int(Y[told])}
    assert rounds.loop.pool.spent == 2
    assert Campaign.load(tmp_path / "c").pool.spent == 2


def test_copies_train_once_and_are_not_asked_for(tmp_path, caplog):
    rounds = Rounds(tmp_path)
    first = rounds.ask()
    rounds.tell(first[:1], label=(int(Y[first[0]]) + 1) % 3)
    free = [row for row in range(42, 58) if row not in first]
    for row in (*first, free[0]):
        file_of(rounds.root, row, True).parent.mkdir(exist_ok=True)
        shutil.copy(file_of(rounds.root, row, False), file_of(rounds.root, row, True))
    with caplog.at_level("INFO"):
        asked = rounds.ask(query_size=12)
    assert sorted(asked) == free[1:]
    assert rounds.trained() == labels([*KNOWN, *first, free[0]])
    assert "4 of the 16 unlabelled samples are in the training set too" in caplog.text
    pool = rounds.loop.pool
    assert sorted(map(rounds.row, pool.known.tolist())) == sorted([*first, free[0]])
    assert pool.counts() == (0, 12, 0, 0)
    assert pool.spent == 1


def test_pictures_of_one_name_in_both_folders_are_two_samples(tmp_path):
    rounds = Rounds(tmp_path)
    for row, other in ((42, 50), (43, 5)):  # one of another size, one of another content
        file_of(rounds.root, row, True).parent.mkdir(exist_ok=True)
        file_of(rounds.root, row, True).write_text(str(other))
    (rounds.root / "labelled" / str(int(Y[42])) / "42.txt").write_text("  50")
    asked = rounds.ask(query_size=16)
    assert len(asked) == 16


def test_the_last_one_is_moved(tmp_path):
    rounds = Rounds(tmp_path)
    told, *_ = rounds.ask()
    rounds.tell([told])
    for row in range(42, 58):
        rounds.move(row)
    assert rounds.ask() == []
    assert rounds.loop.status == "finished"
    assert rounds.loop.pool.spent == 1


def test_a_start_on_which_nothing_moved_writes_nothing_and_fits_nothing(tmp_path):
    rounds = Rounds(tmp_path)
    rounds.ask()
    events = len(Campaign.read_events(tmp_path / "c"))
    rounds.ask()
    assert rounds.recorder.weights == []
    assert [e["kind"] for e in Campaign.read_events(tmp_path / "c")[events:]] == ["asked", "reported"]
