"""Makes the shipped models, from photographs that are not shipped.

In: folders of photographs. Out: ``trees.blurgate`` and ``net.blurgate``. May import: blurgate.

Each command runs from the root of the repository, in the environment that make builds.
"""
