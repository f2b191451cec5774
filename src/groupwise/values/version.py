"""The version, where whatever records it can read it without importing the package's face."""

__version__ = "0.1.0"
