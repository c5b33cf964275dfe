"""Variants that are another structure: levels, codes, critics, classes."""

from __future__ import annotations

from varied.zoo.entry import UNMEASURED, Entry

__all__ = ["STRUCTURED"]

STRUCTURED: dict[str, Entry] = {
    "ladder-vae": Entry(
        "Ladder VAE",
        "Ladder Variational Autoencoders (Sønderby et al.)",
        2016,
        "https://arxiv.org/abs/1602.02282",
        "a better bound than one level gives",
        UNMEASURED,
        {"structure": {"name": "ladder", "levels": 5}, "net": "mlp", "latent": 16},
    ),
    "deep-vae": Entry(
        "Deep hierarchical VAE for pictures",
        "Very Deep VAEs Generalize Autoregressive Models (Child)",
        2021,
        "https://arxiv.org/abs/2011.10650",
        "pictures; the best bound there is, at the highest price",
        UNMEASURED,
        {"structure": {"name": "ladder", "levels": 8}, "net": "conv", "latent": 8},
    ),
    "vq-vae": Entry(
        "VQ-VAE",
        "Neural Discrete Representation Learning (van den Oord et al.)",
        2017,
        "https://arxiv.org/abs/1711.00937",
        "sharp copies, compression, tokens for another model",
        UNMEASURED,
        {"posterior": "vq", "prior": "transformer", "objective": "vq"},
    ),
    "fsq-vae": Entry(
        "VQ-VAE with finite scalar quantization",
        "Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al.)",
        2023,
        "https://arxiv.org/abs/2309.15505",
        "as VQ-VAE, and every code is used",
        UNMEASURED,
        {"posterior": "fsq", "prior": "transformer", "objective": "vq"},
    ),
    "lfq-vae": Entry(
        "VQ-VAE with lookup-free quantization",
        "Language Model Beats Diffusion: Tokenizer is Key (Yu et al.)",
        2023,
        "https://arxiv.org/abs/2310.05737",
        "as VQ-VAE, with very large codebooks",
        UNMEASURED,
        {"posterior": "lfq", "prior": "transformer", "objective": "vq"},
    ),
    "simvq-vae": Entry(
        "SimVQ",
        "Addressing Representation Collapse in Vector Quantized Models (Zhu et al.)",
        2024,
        "https://arxiv.org/abs/2411.02038",
        "as VQ-VAE, and every code is used",
        UNMEASURED,
        {"posterior": "simvq", "prior": "transformer", "objective": "vq"},
    ),
    "residual-vq-vae": Entry(
        "VQ-VAE with residual codes",
        "Autoregressive Image Generation using Residual Quantization (Lee et al.)",
        2022,
        "https://arxiv.org/abs/2203.01941",
        "compression at a rate that you choose",
        UNMEASURED,
        {"posterior": "residual-vq", "prior": "transformer", "objective": "vq"},
    ),
    "vae-gan": Entry(
        "VAE-GAN",
        "Autoencoding beyond pixels using a learned similarity metric (Larsen et al.)",
        2016,
        "https://arxiv.org/abs/1512.09300",
        "sharp pictures",
        UNMEASURED,
        {"objective": "vae-gan", "net": "conv"},
    ),
    "vae-gan-modern": Entry(
        "VAE with a hinge critic",
        "Taming Transformers for High-Resolution Image Synthesis (Esser et al.)",
        2021,
        "https://arxiv.org/abs/2012.09841",
        "sharp pictures, and a critic that is kept in balance",
        UNMEASURED,
        {"objective": "hinge-gan", "net": "conv"},
    ),
    "classifier-free-vae": Entry(
        "Conditional VAE that also samples without",
        "Classifier-Free Diffusion Guidance (Ho & Salimans)",
        2022,
        "https://arxiv.org/abs/2207.12598",
        "labelled data, of which some have no label",
        UNMEASURED,
        {"structure": {"name": "flat", "unconditional": 0.1}},
        conditional=True,
    ),
}
