"""How far samples are from each other: distances, nearest centres, graphs."""

from lightning_al.functional.geometry.graph import graph_adjacency

__all__ = ["graph_adjacency"]
