"""This is C++ for the CPU, compiled on this machine when it is first needed. Everything here has a plain torch
counterpart."""

from groupwise.kernels.build import library

__all__ = ["library"]
