"""Labels that two people tell at the same time."""

import threading

from lightning_al.campaign import told
from tests.helpers.told import asked, said, tell


def test_of_two_at_once_both_are_taken(tmp_path, monkeypatch):
    """The second reads the campaign when the first has written: it would write over it, or be refused."""
    campaign = asked(tmp_path / "c", ["a/1.jpg", "a/2.jpg", "b/10.jpg"])
    names = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for name, key in zip(names, ("a/1.jpg", "a/2.jpg"), strict=True):
        name.write_text(f"key,label\n{key},cat\n")
    read, began, came = told.Standing, threading.Event(), threading.Event()

    def slow(dirpath):
        standing = read(dirpath)
        began.set()
        came.wait(0.2)
        return standing

    def second():
        began.wait()
        monkeypatch.setattr(told, "Standing", lambda dirpath: came.set() or read(dirpath))
        tell(campaign, names[1])

    monkeypatch.setattr(told, "Standing", slow)
    other = threading.Thread(target=second)
    other.start()
    tell(campaign, names[0])
    other.join()
    assert said(campaign) == {"a/1.jpg": "cat", "a/2.jpg": "cat", "b/10.jpg": None}
