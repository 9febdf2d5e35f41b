"""The version, apart from everything that costs time to import."""

__version__ = "0.1.0"
