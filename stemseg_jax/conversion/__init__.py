"""Weights from files of other programs, and our own release form."""
