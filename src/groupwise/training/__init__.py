"""The loop and what it is made of: a stage, its update, its checks, and what is measured on the way."""
