"""Systems that the benchmarks compare, each in its own process and environment."""
