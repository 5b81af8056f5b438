"""Turns pictures into a model and its figures.

In: labelled photos, datasets, tables. Out: a tuned, calibrated model, its evaluation, and the report on it.
May import: judging, making, measuring, photos; cells, errors, files, installation, outputs, pages, threads, version.
"""
