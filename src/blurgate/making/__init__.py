"""Turns sharp photos into labelled pictures.

In: sharp photos. Out: pictures blurred by known kernels and taken by simulated cameras; datasets with their manifests.
May import: measuring.laplacian, photos; cells, errors, files, installation, outputs, pages, threads, version.
"""
