"""Readers of official dataset folders, by name."""
