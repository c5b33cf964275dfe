"""Data as bits: what a trained model knows of them need not be written.

`latents` keeps every bit of the data, by bits back; `codes` keeps the indices of a codebook; both
stand on the entropy coder of the library ``constriction``. `letter` is the file.
"""
