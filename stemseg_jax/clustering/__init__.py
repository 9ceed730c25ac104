"""Points of one window to tracklets, on device."""
