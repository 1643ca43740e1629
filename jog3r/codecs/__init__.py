"""What turns pixels and prompts into latents and tokens, and back."""
