"""Judges photos that come by HTTP, and asks such a service.

In: requests with photos. Out: verdicts as JSON, a page, metrics; from the client, verdicts as of the local model.
May import: judging, measuring, photos, scanning; cells, errors, files, installation, outputs, threads, version.
"""
