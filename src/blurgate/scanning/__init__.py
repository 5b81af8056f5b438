"""Turns many photos into many verdicts.

In: paths, photos, tables. Out: a stream of verdicts that can resume, files of them, sorted photos, a gallery.
May import: judging, measuring, photos; cells, errors, files, installation, outputs, pages, threads, version.
"""
