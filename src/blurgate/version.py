"""The version: of the package, of what a model was made by, and of what a scan saved."""

__version__ = "0.1.0"
