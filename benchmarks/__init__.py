"""Benchmarks that are long or noisy: accuracy, speed, memory, robustness. Each command prints JSON.

May import: blurgate, models. Each command runs from the root of the repository, in the environment that make builds.
"""
