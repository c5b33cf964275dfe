"""Structures of latents: a plain VAE has one rung."""

from varied.models.vae import VAE, LatentModel

__all__ = ["VAE", "LatentModel"]
