"""What the benchmarks' workers run: one module for each contender."""
