"""The gradient rules of layers, one file for each kind of layer; a new layer's rule is a new file here.

The base of all rules and how to register one are in :mod:`lightning_al.gradients.rules.base`. Import a new file at the
top of ``gradients/network.py``, beside the others, so that its rule is registered. ``attention.py`` and
``recurrent.py`` are different: they write a layer out that is made of linear ones, so that the rule of linear layers
serves its parts (``composites.py``).
"""
