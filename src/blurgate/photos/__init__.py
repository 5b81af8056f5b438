"""A path becomes pixels.

In: paths, bytes, arrays, PIL images. Out: gray or RGB arrays, and the photos found below folders.
May import: errors, files, threads.
"""
