"""What an objective is made of: one number for each datum, in nats, read off a trace.

A term is a function of a trace that owns nothing. Sums run over the dimensions of the data, never
means; the mean over the batch is taken once, by the objective. What a term ``reads`` ("density",
"marginals") is compared with what the heads give, before anything is trained.
"""

from varied.terms.base import Dial, Term, reads
from varied.terms.bound import FreeBits, distortion, rate

__all__ = ["Dial", "FreeBits", "Term", "distortion", "rate", "reads"]
