"""The gradient rules of layers, one file for each kind of layer; a new layer's rule is a new file here.

The base of all rules and how to register one are in :mod:`lightning_al.gradients.rules.base`; ``network.py`` imports
the files, so that their rules are known.
"""
