"""Pixels become numbers.

In: gray planes. Out: one vector of features for each, by NumPy, compiled code or torch; the variance of the Laplacian.
May import: photos; errors, files, threads.
"""
