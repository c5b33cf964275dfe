"""M1 and M1+M2: semi-supervised learning on the codes of a VAE."""

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
from varied.models.classifier import add_dropout, build_classifier
from varied.models.labels import (
    ClassLevel,
    ClassPrior,
    certain_class,
    clamp_to_labels,
    class_distribution,
    predict_class,
    split_class,
)
from varied.models.m2 import ClassConditionalVAE, build_class_encoder, class_and_latent_sizes
from varied.models.vae import VAE, build_vae, sample_with_temperature, zero_missing
from varied.nets import mlp, with_context
from varied.posteriors import Deterministic, Gaussian
from varied.priors import Prior
from varied.trace import ConditionalDistribution, Level, Trace

Shape = tuple[int, ...]

#: The minimum standard deviation of the codes in M2, compared with 1 in the prior of M1.
MIN_SCALE = 0.05


class ClassifiedVAE(LatentModel):
    """Base class for a VAE (M1) with a classifier of its codes or of the data.

    Arguments:
        m1: The VAE, which maps data to codes.
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        reads_data: Whether the input of the classifier is the data instead of the codes.
    """

    prior: Prior

    def __init__(self, m1: VAE, classifier: ConditionalDistribution, reads_data: bool) -> None:
        super().__init__()
        self.m1, self.classifier, self.reads_data = m1, classifier, reads_data
        self.prior = m1.prior

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return self.classifier.head.event_shape[0]

    @property
    def event_shape(self) -> Shape:
        """The shape of one example."""
        return self.m1.event_shape

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y | x), with shape (B, C)."""
        return self.class_logits(x).softmax(-1)

    def class_logits(self, x: Tensor) -> Tensor:
        """Return the logits of q(y | x), with shape (B, C), from the data or the mean codes."""
        return self.classifier.outputs(x if self.reads_data else self.m1.encode(x).mean)

    def code_logits(self, x: Tensor, codes: Tensor) -> Tensor:
        """Return the logits of q(y | x) for draws of the codes.

        Arguments:
            x: The data, with shape (B, *event).
            codes: Draws of the codes, with shape (S, B, D).

        Returns:
            Logits with shape (S, B, C), identical for all draws if the classifier uses the data.
        """
        if self.reads_data:
            return self.classifier.outputs(x).expand(len(codes), -1, -1)
        return self.classifier.outputs(codes)

    def _detached_codes(
        self, trace: Trace, c: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the detached codes, the class logits and the labels, with shapes (K * B, *)."""
        codes = trace.levels[0].z.detach()
        logits = self.code_logits(trace.x, codes)
        c = None if c is None else c.repeat(len(codes), 1)
        return codes.flatten(0, 1), logits.flatten(0, 1), c


class _CodeLatent(ClassifiedVAE):
    """Base class for models whose latent variable is the code of M1."""

    decoder_reads_context = False

    @property
    def latent_shape(self) -> Shape:
        """The shape of the code."""
        return self.m1.latent_shape

    @property
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element of an example."""
        return self.m1.params_per_element

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z | x), with batch shape (B)."""
        return self.m1.encode(x)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z), with the leading dimensions of ``z`` as the batch shape."""
        return self.m1.decode(z)


class _WithM2(ClassifiedVAE):
    """Base class for models in which M2 models the codes of M1.

    Arguments:
        m1: The VAE, which maps data to codes.
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        reads_data: Whether the input of the classifier is the data instead of the codes.
        m2: The model of the codes.
    """

    def __init__(
        self,
        m1: VAE,
        classifier: ConditionalDistribution,
        reads_data: bool,
        m2: ClassConditionalVAE,
    ) -> None:
        super().__init__(m1, classifier, reads_data)
        self.m2 = m2

    def _enumerate_classes(
        self, x: Tensor, c: Tensor | None, samples: int
    ) -> tuple[Tensor, list[Level], Tensor]:
        """Return the draws of the codes (with shape (samples, B, D)), the levels, and the weights.

        The first level contains the codes repeated for each class: K = samples * C draws per
        example.
        """
        q = self.m1.encode(x)
        z = q.rsample((samples,))
        p, levels, weights = self.m2.enumerate_classes(z, self.code_logits(x, z), c)
        return z, [Level(z.repeat(self.num_classes, 1, 1), q, p), *levels], weights

    def _sample_prior(
        self, n: int, c: Tensor | None, temperature: Temperature
    ) -> tuple[Tensor, Tensor]:
        """Return classes and codes drawn from M2."""
        z = self.m2.sample_prior(n, c, temperature)
        codes = sample_with_temperature(self.m2.decode(z, c), n, temperature)
        return z[:, : self.num_classes], codes


class M1(_CodeLatent):
    """M1: a VAE, and a classifier of its codes whose gradient does not reach the VAE.

    In the ``upper`` trace of a trace, the data are the codes, and their likelihood is the prior of
    the VAE for every class.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298
    """

    has_upper_trace = True
    required_term = "classification"

    @property
    def provides(self) -> frozenset[str]:
        """The properties that the posterior and the prior provide to terms."""
        return self.m1.provides

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of the VAE, with an ``upper`` trace of the classifier."""
        trace: Trace = self.m1(x, None, mask, samples)
        codes, logits, c = self._detached_codes(trace, c)
        q_y = class_distribution(clamp_to_labels(logits, c))
        p_y = class_distribution(torch.zeros_like(logits[0]))
        level = ClassLevel(q_y.mean[None], q_y, p_y, logits=logits[None], c=c)
        trace.upper = Trace(codes, self.prior().expand((1, len(codes))), [level])
        return trace

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw codes from the prior of the VAE, since M1 does not model the classes."""
        return self.m1.sample_prior(n, None, temperature)


class M1M2(_CodeLatent, _WithM2):
    r"""M1+M2 with a stop-gradient: a VAE (M1), and M2 as a model of its codes.

    A trace has the levels of M1. Its ``upper`` trace is the trace of M2, whose data are the codes.
    The gradient of M2 does not reach M1. Kingma et al. (2014) train M1 first and M2 afterwards.
    Here, both are trained at the same time, and M2 converges as the learning rate decays.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        m1: The VAE, which maps data to codes.
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        reads_data: Whether the input of the classifier is the data instead of the codes.
        m2: The model of the codes.
    """

    has_upper_trace = True
    required_term = "upper_kl"

    @property
    def provides(self) -> frozenset[str]:
        """The properties that the posterior and the prior provide to terms."""
        return self.m1.provides

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of M1, with the trace of M2 as its ``upper`` trace."""
        trace: Trace = self.m1(x, None, mask, samples)
        trace.upper = self.m2.trace(*self._detached_codes(trace, c))
        return trace

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw codes with shape (n, D) from M2, for the classes in ``c``."""
        return self._sample_prior(n, c, temperature)[1]


class JointM1M2(_CodeLatent, _WithM2):
    r"""M1+M2 as a single model with a single ELBO.

    .. math:: p(x, z_1, z_2, y) = p(y) \, p(z_2) \, p(z_1 \mid y, z_2) \, p(x \mid z_1)

    The levels of a trace are :math:`z_1`, :math:`z_2` and y. The class y is enumerated: each draw
    of :math:`z_1` is repeated for every class.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        m1: The VAE, which maps data to codes.
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        reads_data: Whether the input of the classifier is the data instead of the codes.
        m2: The model of the codes.
    """

    provides = frozenset({"density"})

    @property
    def num_enumerated(self) -> int:
        """The number of classes, all of which are evaluated for each draw."""
        return self.num_classes

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace with K = samples * C draws per example."""
        x = zero_missing(x, mask)
        z, levels, weights = self._enumerate_classes(x, c, samples)
        # p(x | z) does not depend on the class, so a single draw is decoded once and broadcast.
        px = self.m1.decode(z if samples == 1 else levels[0].z)
        return Trace(x, px, levels, mask, weights, code=levels[0].z)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw codes with shape (n, D) from M2, for the classes in ``c``."""
        return self._sample_prior(n, c, temperature)[1]


class SkipM1M2(_WithM2):
    r"""M1+M2 as a single model, with a skip connection from the class to the decoder of M1.

    .. math:: p(x, z_1, z_2, y) = p(y) \, p(z_2) \, p(z_1 \mid y, z_2) \, p(x \mid z_1, y)

    The likelihood depends on the class directly. Without this connection, the class affects
    only the codes, which are nearly Gaussian and contain little information about the class.

    The latent variable is the concatenation of the one-hot class and :math:`z_1`.

    References:
        Auxiliary Deep Generative Models (Maaløe et al., 2016), https://arxiv.org/abs/1602.05473

    Arguments:
        m1: The VAE, which maps data to codes; the context of its decoder is the class.
        classifier: The network of q(y | x); its outputs are logits, with shape (C).
        reads_data: Whether the input of the classifier is the data instead of the codes.
        m2: The model of the codes.
    """

    provides = frozenset({"density"})
    prior: ClassPrior

    def __init__(
        self,
        m1: VAE,
        classifier: ConditionalDistribution,
        reads_data: bool,
        m2: ClassConditionalVAE,
    ) -> None:
        super().__init__(m1, classifier, reads_data, m2)
        self.prior = ClassPrior(self.num_classes, m1.latent_shape[0])

    @property
    def latent_shape(self) -> Shape:
        """The shape of the concatenation of the one-hot class and the code."""
        return self.prior.event_shape

    @property
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element of an example, summed over classes."""
        return self.num_classes * self.m1.params_per_element

    @property
    def num_enumerated(self) -> int:
        """The number of classes, all of which are evaluated for each draw."""
        return self.num_classes

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace with K = samples * C draws per example."""
        x = zero_missing(x, mask)
        _, levels, weights = self._enumerate_classes(x, c, samples)
        codes, y = levels[0].z, levels[-1].z
        px = self.m1.decode(codes, y)
        return Trace(x, px, levels, mask, weights, code=torch.cat([y, codes], -1))

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the product of a point mass on the class y and q(z | x).

        The class is the label or, if there is none, the most probable class.
        """
        y = predict_class(self.class_logits(x), c)
        return d.Product(certain_class(y), self.m1.encode(x))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z, y), with the leading dimensions of ``z`` as the batch shape."""
        y, z = split_class(z, c, self.num_classes)
        return self.m1.decode(z, y)

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw classes and codes with shape (n, C + D) from M2, for the classes in ``c``."""
        return torch.cat(self._sample_prior(n, c, temperature), -1)


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
) -> ClassifiedVAE:
    """Return M1+M2: a VAE, and M2 on its codes; ``upper_latent=0`` returns M1 with a classifier.

    The context is the one-hot class; a row of zeros marks an unlabeled example.

    Arguments:
        factory: Builds the parts.
        upper_latent: The number of latent dimensions of M2; if 0, only M1 and a classifier are
            trained.
        hidden_units: The number of hidden units of the fully connected networks of M2.
        depth: The number of hidden layers in the networks of M2.
        dropout: The dropout probability of the classifier; with few labels, typical values are 0.2
            to 0.5.
        augment: The strength of random affine transforms of the input images of the classifier; 0
            disables them, and with few labels a typical value is 1. The transforms require a
            classifier of the data.
        joint: Whether M1 and M2 are one model, trained with objective='m2'. Otherwise, the gradient
            of M2 does not reach M1, as in the paper, and both are trained with objective='m1m2'.
        classifier: The input or the network of the classifier: "codes" for a classifier of the
            codes of M1, as in the paper, or "same", "mlp", "conv", "conv1d" or "resnet" for a
            network that classifies the data.
        skip: Whether the decoder of a joint model also depends on the class, so that fewer labels
            are required.
    """
    num_classes, size = class_and_latent_sizes(factory, "m1m2")
    reads_data = classifier != "codes"
    _check_m1m2(upper_latent, augment, joint, classifier, skip)
    m1 = build_vae(dataclasses.replace(factory, context=0))
    if skip:
        m1.decoder = dataclasses.replace(factory, context=num_classes).decoder(m1.decoder.head)

    def dense(inputs: int, head: Head, context: int = 0) -> ConditionalDistribution:
        def net(shape: Shape) -> nn.Module:
            return mlp(shape, head.param_shape, width=hidden_units, depth=depth)

        return ConditionalDistribution(with_context(net, (inputs,), context), head, (inputs,))

    if reads_data:
        q_y = build_classifier(factory, classifier, num_classes, dropout, augment, ("codes",))
        q_y.net = m1.decoder.head.input_net(q_y.net)
    else:
        q_y = dense(size, Deterministic((num_classes,)))
        q_y.net = add_dropout(q_y.net, dropout)
    if not upper_latent:
        return M1(m1, q_y, reads_data)
    trunk = dense(size, Deterministic((hidden_units,)))
    likelihood = GaussianLikelihood((size,), scale="heteroscedastic", min_scale=MIN_SCALE)
    decoder = dense(upper_latent, likelihood, num_classes)
    encoder = build_class_encoder(hidden_units, Gaussian((upper_latent,)), num_classes)
    m2 = ClassConditionalVAE(trunk, encoder, decoder, num_classes)
    if skip:
        return SkipM1M2(m1, q_y, reads_data, m2)
    return (JointM1M2 if joint else M1M2)(m1, q_y, reads_data, m2)


def _check_m1m2(
    upper_latent: int, augment: float, joint: bool, classifier: str, skip: bool
) -> None:
    if classifier != "codes" and not upper_latent:
        raise VariedError(
            f"classifier='{classifier}' requires M2, which upper_latent=0 disables; use "
            "classifier='codes', or upper_latent=8."
        )
    if classifier == "codes" and augment:
        raise VariedError(
            f"augment={augment} transforms images, but the input of this classifier is a code; "
            "use classifier='conv', or omit `augment`."
        )
    if joint and not upper_latent:
        raise VariedError(
            "A joint model requires M2, which upper_latent=0 disables; omit `joint` or "
            "`upper_latent`."
        )
    if skip and not joint:
        raise VariedError(
            "A skip connection requires a joint model of M1 and M2; use joint=True, or omit `skip`."
        )
