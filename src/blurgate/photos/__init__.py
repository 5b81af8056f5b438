"""Turns paths into pixels.

In: paths, bytes, arrays, PIL images. Out: gray or RGB arrays, and the photos in and below folders.
May import: cells, errors, files, installation, outputs, pages, threads, version.
"""
