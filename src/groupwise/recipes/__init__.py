"""Methods as values. Each recipe's docstring numbers how it differs from what it replaces; none has logic."""

from groupwise.recipes.grpo import grpo
from groupwise.recipes.sft import sft

__all__ = ["grpo", "sft"]
