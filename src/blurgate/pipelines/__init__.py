"""Verdicts where other people's pipelines keep their photos: Ray Data, Hugging Face, CleanVision, FiftyOne.

In: batches and datasets of other libraries. Out: columns, scores and fields by their conventions.
May import: judging, measuring, photos, scanning; cells, errors, files, installation, outputs, pages, threads, version.
"""
