"""Turns pixels into numbers.

In: gray planes. Out: one feature vector per plane, by NumPy, compiled code or torch; the variance of the Laplacian.
May import: photos; cells, errors, files, installation, outputs, pages, threads, version.
"""
