"""Where frames come from: the user's videos and photos, the controlled world, later data sets."""
