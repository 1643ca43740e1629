"""Video diffusion transformers with feature taps: one file per architecture, and a registry."""
