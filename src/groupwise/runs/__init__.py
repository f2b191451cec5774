"""A run on the disk: its recipe, its directory, its session, its records."""
