"""Varied on data that it was tuned on, and on data that it was not."""
