"""A committee of models that were fitted on the same labels, and where its members come from."""

from lightning_al.acquisition.committee.query_by_committee import QueryByCommittee

__all__ = ["QueryByCommittee"]
