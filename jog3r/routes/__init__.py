"""One file per way through the model."""
