"""Datasets packed into ArrayRecord files, for clusters."""
