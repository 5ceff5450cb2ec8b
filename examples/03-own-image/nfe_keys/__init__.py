"""A bot of more than one file: what an image of one's own is for."""
