"""This package sets runs side by side: settings and their seeds, equal budgets, and where recipes differ."""
