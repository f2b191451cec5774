"""This package writes the report of a run, the viewer's page as one file that needs no network; and markup for other
pages."""
