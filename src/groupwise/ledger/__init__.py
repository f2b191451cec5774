"""Every rollout of a run, in columns: how it is written and how it is read."""
