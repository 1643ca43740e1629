"""Public checkpoints -> model folders of jog3r. The only room that reads pickles."""

# Here, where they cost no import of torch: the command line lists them in its help.
KINDS = {
    "opensora-1.0": "Open-Sora 1.0: the STDiT backbone",
    "opensora-1.1": "Open-Sora 1.1: the STDiT2 backbone",
    "opensora-1.2": "Open-Sora 1.2: the STDiT3 backbone",
    "opensora-1.2-vae": "Open-Sora 1.2: the video autoencoder",
    "sd-vae": "Stable Diffusion: the autoencoder of frames, as of diffusers or of the original",
    "dust3r": "DUSt3R: the whole network, linear or DPT head; not for commercial use",
}
"""Kind of checkpoint -> what it is."""
AUTO = "auto"
"""Stands for any of them: names and shapes of the tensors say which."""
