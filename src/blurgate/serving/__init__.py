"""Verdicts over HTTP, and a page in a browser.

In: requests with photos. Out: verdicts as JSON.
May import: judging, measuring, photos, scanning; cells, errors, files, installation, outputs, pages, threads, version.
"""
