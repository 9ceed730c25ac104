"""Official metrics in NumPy, on result files and on arrays."""
