"""These modules know what is inside a decoder-only transformer, named alike for every family: for the engine and for
the learner."""

from groupwise.networks.blueprint import Blueprint, LayerParts, bias_of, merged_weight
from groupwise.networks.families import blueprint_of

__all__ = ["Blueprint", "LayerParts", "bias_of", "blueprint_of", "merged_weight"]
