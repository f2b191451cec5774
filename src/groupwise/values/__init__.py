"""This package holds numbers and names that everything may use: these modules import nothing of ours."""
