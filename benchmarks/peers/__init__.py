"""The systems that the benchmarks run side by side, each in its own process and environment."""
