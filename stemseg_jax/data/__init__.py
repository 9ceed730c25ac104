"""Videos and annotations to batches of clips, in NumPy."""
