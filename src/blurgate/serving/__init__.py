"""Verdicts over HTTP, a page in a browser, and a client.

In: requests with photos, and their answers. Out: verdicts, as JSON and as of the local model.
May import: judging, measuring, photos, scanning; cells, errors, files, installation, outputs, threads, version.
"""
