"""Many photos become many verdicts.

In: paths, photos, tables. Out: a stream of verdicts, resumable; files of them, photos filed by them, the gallery.
May import: judging, measuring, photos; errors, files, threads.
"""
