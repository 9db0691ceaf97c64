"""Priors: diffusion models from a folder or the hub, and exact scores."""

from editing.priors.load import load_prior

__all__ = ["load_prior"]
