"""Labels in files of the first rank's folder, for processes that do not see it."""

from collections.abc import Sequence

from lightning_al.campaign.events import Event
from lightning_al.distributed.ranks import Ranks
from lightning_al.storage.blobs import Blob, from_json, to_json

_AT_A_TIME = 256  # files that travel together


def readable_everywhere(events: Sequence[Event], ranks: Ranks) -> list[Event]:
    """Return events whose blobs this process can read; in memory are those whose files it does not see.

    Every rank must call this, with the same events.

    Args:
        events: As the first rank read them, or wrote them.
        ranks: Of the launch.
    """
    if ranks.is_alone:
        return list(events)
    blobs_of = [to_json(event)[1] for event in events]
    kept = {blob.name: blob for blobs in blobs_of for blob in blobs}
    if not kept:
        return list(events)
    unseen = [] if ranks.is_first else [name for name, blob in kept.items() if not blob.is_there]
    wanted = sorted({name for names in ranks.gather(unseen) for name in names})
    sent: dict[str, Blob] = {}
    for start in range(0, len(wanted), _AT_A_TIME):
        names = wanted[start : start + _AT_A_TIME]
        whole = ranks.first(lambda: {n: kept[n].data for n in names if kept[n].is_whole})  # noqa: B023 - called here
        sent |= {name: Blob(whole[name], kept[name].suffix) for name in names if name in whole and name in unseen}
    if not sent:
        return list(events)

    def find(name: str) -> Blob:
        return sent.get(name, kept[name])

    return [
        from_json(to_json(event)[0], find) if blobs else event for event, blobs in zip(events, blobs_of, strict=True)
    ]
