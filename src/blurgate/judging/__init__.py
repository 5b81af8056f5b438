"""Turns numbers into verdicts.

In: measured photos, model files. Out: evidence from trees, a net or both, and the verdict at a threshold.
May import: measuring, photos; cells, errors, files, installation, outputs, pages, threads, version.
"""
