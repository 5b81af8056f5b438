"""The version of the package, recorded in model files and in the records of a scan."""

__version__ = "0.1.0"
