"""This package runs a recipe in a directory on the disk: what it writes there, and how it goes on after a stop."""
