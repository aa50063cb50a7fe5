"""Particles in cryo-electron tomograms: cubes of voxels around picks, from MRC and TIFF files."""

from lightning_al.zoo.tomograms.subtomograms import SubtomogramDataModule, Subtomograms

__all__ = ["SubtomogramDataModule", "Subtomograms"]
