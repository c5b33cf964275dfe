"""The web page and the API for runs: ``varied studio`` and ``varied serve``."""
