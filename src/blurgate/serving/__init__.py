"""Verdicts over HTTP, a page in a browser, and clients that ask for verdicts.

In: requests with photos. Out: verdicts as JSON.
May import: judging, measuring, photos, scanning; cells, errors, files, installation, outputs, pages, threads, version.
"""
