"""Environments that are written for other systems, each form as a generator."""
