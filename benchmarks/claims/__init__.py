"""What texts on VAEs claim, put to the test: ``python -m benchmarks.claims [NUMBER ...]``.

Each claim is a function whose docstring says the experiment, and which returns figures with their
spread over seeds, pictures, and whether the claim held. All figures are kept as they come in
``benchmarks/results/claims.json``, and `docs/claims.md` is written from them; with ``--quick`` both
go to a folder of their own, since they are no more than the shape of the page.
"""
