"""Varied: variational autoencoders for your own data."""

__version__ = "0.1.0"
