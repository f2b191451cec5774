"""This package is the door for agent programs: OpenAI's interface over our own engine, whose conversations are kept as
rollouts."""
