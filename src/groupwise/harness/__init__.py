"""The language model evaluation harness (lm-eval) on a model of ours: its tasks, its prompts, its rules, our engine."""
