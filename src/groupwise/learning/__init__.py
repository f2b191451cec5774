"""This package holds what a learner is given and what it gives back, as plain values; what a learner promises."""
