"""A recipe as plain data: how its parts describe themselves, and the range of every number."""
