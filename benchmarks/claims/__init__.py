"""Test common claims about VAEs: ``python -m benchmarks.claims [NUMBER ...]``.

Each claim is tested by a function whose docstring describes the experiment and which returns
tables, images, and whether the claim held. Results are saved in ``benchmarks/results/claims.json``
as they are computed, and ``docs/claims.md`` is generated from them. With ``--quick``, which only
tests the code, both are written to a separate folder.
"""
