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
from varied.models.base import LatentModel, PartFactory, Temperature
from varied.models.m2 import (
    M2,
    ClassLevel,
    ClassPrior,
    add_dropout,
    build_class_encoder,
    build_classifier,
    certain_one_hot,
    clamp_to_labels,
    class_and_latent_sizes,
    one_hot,
    predicted_one_hot,
    split_class,
)
from varied.models.vae import VAE, build_vae, sample_with_temperature, zero_missing
from varied.nets import mlp, with_context
from varied.posteriors import Deterministic, Gaussian
from varied.trace import ConditionalDistribution, Level, Trace

__all__ = ["M1M2", "LatentClassifier", "build_m1m2"]

Shape = tuple[int, ...]

#: The least standard deviation of the codes that M2 tells of, in units of M1's prior.
FLOOR = 0.05


class LatentClassifier(nn.Module):
    """A classifier of codes, and no model of them: what M1 has upon it.

    Arguments:
        classifier: The net of q(y given x); its raw output has shape (C).
    """

    def __init__(self, classifier: ConditionalDistribution) -> None:
        super().__init__()
        self.classifier = classifier
        size, (count,) = classifier.inputs[0], classifier.head.event_shape
        self.prior: ClassPrior = ClassPrior(count, size)

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace that says of codes that they are normal, whatever their class."""
        logits = self.classifier.outputs(x)
        choice = one_hot(clamp_to_labels(logits, c))
        level = ClassLevel(choice.mean[None], choice, self.prior.choice(), logits[None], c)
        return Trace(x, self.prior.rest().expand((1, len(x))), [level])

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y given x), with shape (B, C)."""
        return self.classifier.outputs(x).softmax(-1)


class M1M2(LatentModel):
    r"""M1+M2: a VAE whose codes have a model of classes; or M1, whose codes have a classifier.

    .. math:: p(x, z_1, z_2, y) = p(y) \, p(z_2) \, p(z_1 \mid y, z_2) \, p(x \mid z_1)

    Joint, it is one model with one bound: its levels are :math:`z_1`, :math:`z_2` and y; every
    class is tried, and x is decoded once. With a skip the decoder is told the class too,
    :math:`p(x \mid z_1, y)`, and x is decoded for each: a class is then worth what it tells of the
    data, not of codes alone, which are near normal and tell classes by little.

    Apart, the levels of a trace are those of M1, whose prior is the standard normal, and so are its
    numbers; what lies above, with the codes as its data, is ``trace.upper``, and no gradient of it
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
        above: M2 | LatentClassifier,
        joint: bool = False,
        reads: str = "codes",
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.below, self.above, self.joint, self.reads = below, above, joint, reads
        self.skip = skip
        self.prior = ClassPrior(self.num_classes, below.latent_shape[0]) if skip else below.prior

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return self.above.classifier.head.event_shape[0]

    @property
    def latent_shape(self) -> Shape:
        """The shape of one latent."""
        return (self.skip * self.num_classes + self.below.latent_shape[0],)

    @property
    def event_shape(self) -> Shape:
        """The shape of one datum."""
        return self.below.event_shape

    @property
    def params_per_element(self) -> int:
        """Numbers that a pass puts out for each element of a datum."""
        return self.below.params_per_element * (self.num_classes if self.skip else 1)

    @property
    def num_enumerated(self) -> int:
        """The number of classes, each of which a draw is tried with in one bound."""
        return self.num_classes if self.joint else 1

    @property
    def provides(self) -> frozenset[str]:
        """What terms can read of the posterior and the prior."""
        return M2.provides if self.joint else self.below.provides

    @property
    def required_term(self) -> str:
        """What trains the part above, where M1 and it are apart."""
        if self.joint:
            return ""
        return "classification" if isinstance(self.above, LatentClassifier) else "upper_kl"

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of the joint model; or that of M1, with what is above it."""
        if self.joint:
            return self._joined(zero_missing(x, mask), c, mask, samples)
        trace = self.below(x, None, mask, samples)
        codes = trace.levels[0].z.detach().flatten(0, 1)
        known = None if c is None else c.repeat(samples, 1)
        if self.reads == "codes":
            trace.upper = self.above(codes, known)
        else:
            logits = self.above.classifier.outputs(zero_missing(x, mask)).repeat(samples, 1)
            trace.upper = self.above(codes, known, logits=logits)
        return trace  # type: ignore[no-any-return]

    def _joined(self, x: Tensor, c: Tensor | None, mask: Tensor | None, samples: int) -> Trace:
        assert isinstance(self.above, M2)
        q = self.below.encode(x)
        z = q.rsample((samples,))
        logits = None
        if self.reads == "data":
            logits = self.above.classifier.outputs(x).expand(samples, -1, -1)
        p, levels, weights = self.above.tried(z, c, 1, logits)
        every, y = z.repeat(self.num_classes, 1, 1), levels[-1].z
        if self.skip:
            px = self.below.decode(every, y)
        else:  # one draw is decoded once, and its p(x given z) broadcasts to all classes
            px = self.below.decode(z if samples == 1 else every)
        code = torch.cat([y, every], -1) if self.skip else every
        return Trace(x, px, [Level(every, q, p), *levels], mask, weights, code=code)

    def _told(self, x: Tensor) -> Tensor:
        """Return the logits of q(y given x), with shape (B, C)."""
        read = x if self.reads == "data" else self.below.encode(x).mean
        return self.above.classifier.outputs(read)

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y given x), with shape (B, C)."""
        return self._told(x).softmax(-1)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z given x), with batch shape (B), and with a skip the class as well."""
        q = self.below.encode(x)
        return (
            d.Product(certain_one_hot(predicted_one_hot(self._told(x), c)), q) if self.skip else q
        )

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given z), or p(x given z, y) with a skip."""
        if not self.skip:
            return self.below.decode(z)
        y, z = split_class(z, c, self.num_classes)
        return self.below.decode(z, y)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws of codes, with shape (n, *latent), of a class where ``c`` has one."""
        if isinstance(self.above, LatentClassifier):
            return self.below.sample_prior(n, None, temperature)
        high = self.above.sample_prior(n, c, temperature)
        codes = sample_with_temperature(self.above.decode(high, c), n, temperature)
        return torch.cat([high[:, : self.num_classes], codes], -1) if self.skip else codes


def build_m1m2(
    factory: PartFactory,
    *,
    upper_latent: int = 10,
    hidden_units: int = 200,
    depth: int = 1,
    dropout: float = 0.0,
    augment: float = 0.0,
    joint: bool = False,
    classifier: str = "codes",
    skip: bool = False,
) -> M1M2:
    """M1+M2: a VAE, and M2 on its codes; with ``above=0`` M1, and a classifier on its codes.

    The context is the classes, one-hot; a row of zeros has none.

    Arguments:
        factory: Makes the parts.
        upper_latent: The numbers of the latent of M2; 0 leaves M2 out.
        hidden_units: Hidden units of each net of M2, which are fully connected.
        depth: Hidden layers of each net of M2.
        dropout: The chance that the classifier loses a hidden unit in training; 0.2 to 0.5 is usual
            where labels are few.
        augment: How far pictures are moved by chance before a classifier of data reads them in
            training: 1 is usual where labels are few, 0 leaves them.
        joint: Whether M1 and M2 are one model, trained with objective='m2'; else M1 does not feel
            M2, as in the paper, and both are trained with objective='m1m2'.
        classifier: What says the class: "codes" reads those of M1, as in the paper; a net may read
            the data, "same" as the other nets, "mlp", "conv" or "resnet".
        skip: Whether the decoder of a joint model is told the class beside the codes; a class then
            tells more of the data, and fewer labels are enough.
    """
    count, size = class_and_latent_sizes(factory, "m1m2")
    below = build_vae(dataclasses.replace(factory, context=0))
    if skip:
        below.decoder = factory.conditional(factory.latent_shape, below.decoder.head, count)

    def given(inputs: int, head: Head, context: int = 0) -> ConditionalDistribution:
        def net(shape: Shape) -> nn.Module:
            return mlp(shape, head.param_shape, width=hidden_units, depth=depth)

        return ConditionalDistribution(with_context(net, (inputs,), context), head, (inputs,))

    reads = "codes" if classifier == "codes" else "data"
    if reads == "data" and not upper_latent:
        raise VariedError(
            f"classifier='{classifier}' reads data, and with upper_latent=0 nothing else would learn from "
            "it; use classifier='codes', or above=8."
        )
    if reads == "codes" and augment:
        raise VariedError(
            f"augment={augment} moves the pictures that a classifier reads, and this one reads "
            "codes; use classifier='conv', or leave it out."
        )
    if reads == "data":
        told = build_classifier(factory, classifier, count, dropout, augment, ("codes",))
    else:
        told = given(size, Deterministic((count,)))
        told.net = add_dropout(told.net, dropout)
    if not upper_latent and joint:
        raise VariedError("With above=0 there is nothing to join; leave joint out, or above.")
    if skip and not joint:
        raise VariedError("A skip needs the class in the bound of M1; use joint=True, or leave it.")
    if not upper_latent:
        return M1M2(below, LatentClassifier(told))
    trunk = given(size, Deterministic((hidden_units,)))
    decoder = given(
        upper_latent, GaussianLikelihood((size,), scale="heteroscedastic", min_scale=FLOOR), count
    )
    encoder = build_class_encoder(hidden_units, Gaussian((upper_latent,)), count)
    return M1M2(below, M2(told, trunk, encoder, decoder), joint, reads, skip)


build_m1m2.own = ("posterior", "prior")  # type: ignore[attr-defined]
