"""Variants that are another posterior or prior."""

from __future__ import annotations

from varied.zoo.entry import Entry

__all__ = ["DENSITIES"]

DENSITIES: dict[str, Entry] = {
    "gaussian-mixture-vae": Entry(
        "VAE with a mixture for prior",
        "Variational Deep Embedding (Jiang et al.)",
        2017,
        "https://arxiv.org/abs/1611.05148",
        "data that fall into clusters",
        "digits, 45 s on one thread: -ELBO 95.2 in 10 epochs",
        {"prior": "learned-gmm"},
    ),
    "vamp-vae": Entry(
        "VampPrior VAE",
        "VAE with a VampPrior (Tomczak & Welling)",
        2018,
        "https://arxiv.org/abs/1705.07120",
        "a better bound, and samples like the data",
        "digits, 40 epochs: -ELBO 87.9, with the standard normal 90.8",
        {"prior": "vamp"},
    ),
    "flow-prior-vae": Entry(
        "VAE with a flow for prior",
        "Variational Lossy Autoencoder (Chen et al.)",
        2017,
        "https://arxiv.org/abs/1611.02731",
        "a better bound",
        "digits, 40 epochs: -ELBO 86.8, with the standard normal 90.8",
        {"prior": "flow"},
    ),
    "iaf-vae": Entry(
        "VAE with inverse autoregressive flow",
        "Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al.)",
        2016,
        "https://arxiv.org/abs/1606.04934",
        "a posterior that is no Gaussian",
        "digits, 40 epochs: -ELBO 89.4, with a normal posterior 90.8",
        {"posterior": "iaf"},
    ),
    "hyperspherical-vae": Entry(
        "Hyperspherical VAE",
        "Hyperspherical Variational Auto-Encoders (Davidson et al.)",
        2018,
        "https://arxiv.org/abs/1804.00891",
        "data with directions; codes of up to some 20 dimensions",
        "digits, 45 s on one thread: -ELBO 131 in 8 epochs: 32 dimensions are many for a sphere",
        {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"},
    ),
    "categorical-vae": Entry(
        "VAE with categorical latents",
        "Categorical Reparameterization with Gumbel-Softmax (Jang et al.)",
        2017,
        "https://arxiv.org/abs/1611.01144",
        "codes that are choices",
        "digits, 45 s on one thread: -ELBO 121 in 10 epochs, from 8 choices of 8",
        {"posterior": "gumbel-softmax", "prior": "categorical", "latent": 64},
    ),
    "joint-vae": Entry(
        "Joint continuous and discrete VAE",
        "Learning Disentangled Joint Continuous and Discrete Representations (Dupont)",
        2018,
        "https://arxiv.org/abs/1804.00104",
        "classes and what varies within them, without labels",
        "digits, 45 s on one thread: 22.2 nats of KL, 22.2 were asked for",
        {
            "posterior": "gaussian-gumbel",
            "prior": "gaussian-categorical",
            "objective": "joint-vae",
            "latent": 26,
        },
    ),
    "delta-vae": Entry(
        "delta-VAE",
        "Preventing Posterior Collapse with delta-VAEs (Razavi et al.)",
        2019,
        "https://arxiv.org/abs/1901.03416",
        "decoders that would do without the latent",
        "digits, 45 s on one thread: -ELBO 96.3 with 24.2 nats of KL",
        {"posterior": "delta-gaussian"},
    ),
    "flow-matching-vae": Entry(
        "VAE with a flow-matching prior on its codes",
        "High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al.)",
        2022,
        "https://arxiv.org/abs/2112.10752",
        "the way image generators of today use a VAE",
        "digits, 6 epochs: Fréchet distance of samples 93, a VAE's 137",
        {"prior": "flow-matching", "objective": {"name": "elbo", "beta": 0.5}},
    ),
}
