"""What a page says of a campaign's settings, and its warnings."""

import math

from lightning_al import Campaign
from lightning_al.report.page.reading import read_campaigns
from lightning_al.report.page.setting import (
    ledger_warnings,
    log_warnings,
    settings_section,
    warnings_section,
)
from tests.helpers.curves import write_campaign
from tests.helpers.ledger import answered, asked, begin, fitted, record
from tests.helpers.pages import Page


def test_warnings_are_shown_without_secrets(tmp_path):
    write_campaign(tmp_path / "seed_0", [0.5, 0.6])
    (tmp_path / "seed_0.log").write_text("UserWarning: no answer of https://me:abcdef@host/x?token=abcdef\n")
    page = Page(warnings_section(read_campaigns([tmp_path]).campaigns, ["https://me:abcdef@host is away"]))
    assert "host" in page.text
    assert "abcdef" not in page.text


def test_the_configuration_is_shown_without_secrets(tmp_path):
    write_campaign(tmp_path / "seed_0", [0.5, 0.6], options={"seed": 0, "oracle": {"token": "abcdef"}})
    (tmp_path / "seed_0" / "config.yaml").write_text("model:\n  hf_token: |\n    abcdef\n  width: 7\n")
    read = read_campaigns([tmp_path])
    page = Page(settings_section(read.campaigns, read.campaigns))
    assert "abcdef" not in page.text
    assert "width: 7" in page.text
    assert ["oracle.token", "(left out)"] in page.tables["settings-shared"]
    assert page.tables["versions"][0][0] == "package"


def test_warnings_of_ledgers_and_logs(tmp_path):
    campaign = begin(tmp_path / "seed_0", rounds=5)
    record(campaign, "skipped", indices=[8, 9], keys=["a.png", "b.png"], annotator="unreadable")
    asked(campaign, -1, [3, 1, 2], [0.5, 0.5, 0.5])
    answered(campaign, [3, 1, 2], [0, 1, 1])
    record(
        campaign, "fitted", round=0, labelled=3, digest=campaign.label_digest, metrics={"acc": math.nan}, seconds={},
        steps={},
    )  # fmt: skip
    [told] = read_campaigns([tmp_path]).campaigns
    assert ledger_warnings(told) == [
        "2 samples could not be read and were left out: a.png, b.png.",
        "In round 0 acc is not finite.",
        "All picks of round -1 have one score: it told nothing apart there.",
        "1 of 6 trainings are done: it is under way, or was ended before its end.",
    ]
    (tmp_path / "seed_0.log").write_text(
        "a.py:3: UserWarning: Labels look wrong.\n"
        "b.py:1: PossibleUserWarning: The 'train_dataloader' does not have many workers.\n"
        "Round 0\na.py:3: UserWarning: Labels look wrong.\n"
    )
    assert log_warnings(tmp_path / "seed_0") == ["Labels look wrong. (2 times)"]


def test_what_did_not_begin_alike_and_what_changed(tmp_path):
    weights = {"a/seed_0": {"net": "1"}, "b/seed_0": {"net": "1", "more": "9"}, "a/seed_1": {"net": "2"},
               "b/seed_1": {"net": "3"}, "b/seed_2": {"net": "4"}, "c/seed_2": {}}  # fmt: skip
    for name, of_parts in weights.items():
        options = {"seed": int(name[-1]), "query_size": 5}
        beside = {"weights": of_parts} if of_parts else {}  # older ledgers have none
        campaign = Campaign(tmp_path / name, Campaign.create(tmp_path / name, size=9, options=options, beside=beside))
        asked(campaign, -1, [3, 1])
        answered(campaign, [3, 1], [0, 1])
    fitted(campaign, 0, 0.5)
    record(campaign, "changed", options={**options, "query_size": 2})
    fitted(campaign, 1, 0.5)
    read = read_campaigns([tmp_path])
    page = Page(warnings_section(read.campaigns, []))
    assert "with seed 1: part of the difference between them" in page.text
    assert page.text.count("did not begin with the same") == 1
    assert "did not begin with the same weights with seed 1:" in page.text
    assert "From round 1 on it was trained with other settings, and its curve is of both: query_size: 5, now 2." in (
        page.text
    )
