"""Tracklets of windows to tracks of a video."""
