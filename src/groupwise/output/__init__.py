"""This package makes text ready for a terminal, a file or a report: printable, and without keys."""
