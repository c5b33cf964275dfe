"""Classes from few labels: M1 with M2 upon its codes, or with a classifier alone."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models.base import Bench, Heat, LatentModel
from varied.models.classes import (
    ClassLevel,
    ClassPrior,
    ClassVAE,
    beside_class,
    dropped,
    likeliest,
    one_hot,
    parted,
    reader,
    settled,
    sizes,
    sure,
)
from varied.models.vae import VAE, flat, observed, tempered
from varied.nets import mlp, with_context
from varied.posteriors import Gaussian, Point
from varied.trace import Given, Level, Trace

__all__ = ["Readout", "Stacked", "stacked"]

Shape = tuple[int, ...]

#: The least standard deviation of the codes that M2 tells of, in units of M1's prior.
FLOOR = 0.05


class Readout(nn.Module):
    """A classifier of codes, and no model of them: what M1 has upon it.

    Arguments:
        classifier: The net of q(y given x); its raw output has shape (C).
    """

    def __init__(self, classifier: Given) -> None:
        super().__init__()
        self.classifier = classifier
        size, (count,) = classifier.inputs[0], classifier.head.event
        self.prior: ClassPrior = ClassPrior(count, size)

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace that says of codes that they are normal, whatever their class."""
        logits = self.classifier.raw(x)
        choice = one_hot(settled(logits, c))
        level = ClassLevel(choice.mean[None], choice, self.prior.choice(), logits[None], c)
        return Trace(x, self.prior.rest().expand((1, len(x))), [level])

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y given x), with shape (B, C)."""
        return self.classifier.raw(x).softmax(-1)


class Stacked(LatentModel):
    r"""M1+M2: a VAE whose codes have a model of classes; or M1, whose codes have a classifier.

    .. math:: p(x, z_1, z_2, y) = p(y) \, p(z_2) \, p(z_1 \mid y, z_2) \, p(x \mid z_1)

    Joint, it is one model with one bound: its levels are :math:`z_1`, :math:`z_2` and y; every
    class is tried, and x is decoded once. With a skip the decoder is told the class too,
    :math:`p(x \mid z_1, y)`, and x is decoded for each: a class is then worth what it tells of the
    data, not of codes alone, which are near normal and tell classes by little.

    Apart, the levels of a trace are those of M1, whose prior is the standard normal, and so are its
    numbers; what lies above, with the codes as its data, is ``trace.above``, and no gradient of it
    reaches M1. Kingma et al. train M1 and then M2. Here both are trained at the same time, on the
    same rows: M2 follows codes that move, and settles as the learning rate falls.

    To every use the latent is :math:`z_1`, behind the class where there is a skip; new ones are
    made by M2, of a class where one is given.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

        Auxiliary Deep Generative Models (Maaløe et al., 2016), for the skip,
        https://arxiv.org/abs/1602.05473

    Arguments:
        below: M1, from data to codes.
        above: M2, whose data are codes of M1; or a classifier of them.
        joint: Whether M1 and M2 are one model.
        reads: What the classifier reads, "codes" or "data".
        skip: Whether the decoder of M1 is told the class as well, as its context.
    """

    def __init__(
        self,
        below: VAE,
        above: ClassVAE | Readout,
        joint: bool = False,
        reads: str = "codes",
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.below, self.above, self.joint, self.reads = below, above, joint, reads
        self.skip = skip
        self.prior = ClassPrior(self.classes, below.latent[0]) if skip else below.prior

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return self.above.classifier.head.event[0]

    @property
    def latent(self) -> Shape:
        """The shape of one latent."""
        return (self.skip * self.classes + self.below.latent[0],)

    @property
    def event(self) -> Shape:
        """The shape of one datum."""
        return self.below.event

    @property
    def arity(self) -> int:
        """Numbers that a pass puts out for each element of a datum."""
        return self.below.arity * (self.classes if self.skip else 1)

    @property
    def tries(self) -> int:
        """The number of classes, each of which a draw is tried with in one bound."""
        return self.classes if self.joint else 1

    @property
    def gives(self) -> frozenset[str]:
        """What terms can read of the posterior and the prior."""
        return ClassVAE.gives if self.joint else self.below.gives

    @property
    def needs(self) -> str:
        """What trains the part above, where M1 and it are apart."""
        if self.joint:
            return ""
        return "classification" if isinstance(self.above, Readout) else "above_rate"

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of the joint model; or that of M1, with what is above it."""
        if self.joint:
            return self._joined(observed(x, mask), c, mask, samples)
        trace = self.below(x, None, mask, samples)
        codes = trace.levels[0].z.detach().flatten(0, 1)
        known = None if c is None else c.repeat(samples, 1)
        if self.reads == "codes":
            trace.above = self.above(codes, known)
        else:
            logits = self.above.classifier.raw(observed(x, mask)).repeat(samples, 1)
            trace.above = self.above(codes, known, logits=logits)
        return trace  # type: ignore[no-any-return]

    def _joined(self, x: Tensor, c: Tensor | None, mask: Tensor | None, samples: int) -> Trace:
        assert isinstance(self.above, ClassVAE)
        q = self.below.encode(x)
        z = q.rsample((samples,))
        logits = None
        if self.reads == "data":
            logits = self.above.classifier.raw(x).expand(samples, -1, -1)
        p, levels, weights = self.above.tried(z, c, 1, logits)
        every, y = z.repeat(self.classes, 1, 1), levels[-1].z
        if self.skip:
            px = self.below.decode(every, y)
        else:  # one draw is decoded once, and its p(x given z) broadcasts to all classes
            px = self.below.decode(z if samples == 1 else every)
        code = torch.cat([y, every], -1) if self.skip else every
        return Trace(x, px, [Level(every, q, p), *levels], mask, weights, code=code)

    def _told(self, x: Tensor) -> Tensor:
        """Return the logits of q(y given x), with shape (B, C)."""
        read = x if self.reads == "data" else self.below.encode(x).mean
        return self.above.classifier.raw(read)

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y given x), with shape (B, C)."""
        return self._told(x).softmax(-1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z given x), with batch shape (B), and with a skip the class as well."""
        q = self.below.encode(x)
        return d.Joint(sure(likeliest(self._told(x), c)), q) if self.skip else q

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given z), or p(x given z, y) with a skip."""
        if not self.skip:
            return self.below.decode(z)
        y, z = parted(z, c, self.classes)
        return self.below.decode(z, y)

    def latents(self, n: int, c: Tensor | None = None, temperature: Heat = 1.0) -> Tensor:
        """Return draws of codes, with shape (n, *latent), of a class where ``c`` has one."""
        if isinstance(self.above, Readout):
            return self.below.latents(n, None, temperature)
        high = self.above.latents(n, c, temperature)
        codes = tempered(self.above.decode(high, c), n, temperature)
        return torch.cat([high[:, : self.classes], codes], -1) if self.skip else codes


def stacked(
    bench: Bench,
    *,
    above: int = 10,
    units: int = 200,
    depth: int = 1,
    dropout: float = 0.0,
    affine: float = 0.0,
    joint: bool = False,
    classifier: str = "codes",
    skip: bool = False,
) -> Stacked:
    """M1+M2: a VAE, and M2 on its codes; with ``above=0`` M1, and a classifier on its codes.

    The context is the classes, one-hot; a row of zeros has none.

    Arguments:
        bench: Makes the parts.
        above: The numbers of the latent of M2; 0 leaves M2 out.
        units: Hidden units of each net of M2, which are fully connected.
        depth: Hidden layers of each net of M2.
        dropout: The chance that the classifier loses a hidden unit in training; 0.2 to 0.5 is usual
            where labels are few.
        affine: How far pictures are moved by chance before a classifier of data reads them in
            training: 1 is usual where labels are few, 0 leaves them.
        joint: Whether M1 and M2 are one model, trained with objective='semi'; else M1 does not feel
            M2, as in the paper, and both are trained with objective='stacked'.
        classifier: What says the class: "codes" reads those of M1, as in the paper; a net may read
            the data, "same" as the other nets, "mlp", "conv" or "resnet".
        skip: Whether the decoder of a joint model is told the class beside the codes; a class then
            tells more of the data, and fewer labels are enough.
    """
    count, size = sizes(bench, "stacked")
    below = flat(dataclasses.replace(bench, context=0))
    if skip:
        below.decoder = bench.given(bench.latent, below.decoder.head, count)

    def given(inputs: int, head: Head, context: int = 0) -> Given:
        def net(shape: Shape) -> nn.Module:
            return mlp(shape, head.raw, width=units, depth=depth)

        return Given(with_context(net, (inputs,), context), head, (inputs,))

    reads = "codes" if classifier == "codes" else "data"
    if reads == "data" and not above:
        raise VariedError(
            f"classifier='{classifier}' reads data, and with above=0 nothing else would learn from "
            "it; use classifier='codes', or above=8."
        )
    if reads == "codes" and affine:
        raise VariedError(
            f"affine={affine} moves the pictures that a classifier reads, and this one reads "
            "codes; use classifier='conv', or leave it out."
        )
    if reads == "data":
        told = reader(bench, classifier, count, dropout, affine, ("codes",))
    else:
        told = given(size, Point((count,)))
        told.net = dropped(told.net, dropout)
    if not above and joint:
        raise VariedError("With above=0 there is nothing to join; leave joint out, or above.")
    if skip and not joint:
        raise VariedError("A skip needs the class in the bound of M1; use joint=True, or leave it.")
    if not above:
        return Stacked(below, Readout(told))
    trunk = given(size, Point((units,)))
    decoder = given(above, GaussianLikelihood((size,), scale="each", floor=FLOOR), count)
    encoder = beside_class(units, Gaussian((above,)), count)
    return Stacked(below, ClassVAE(told, trunk, encoder, decoder), joint, reads, skip)


stacked.own = ("posterior", "prior")  # type: ignore[attr-defined]
