"""Text on its way out, to a terminal, a file or a report: printable, and without keys."""
