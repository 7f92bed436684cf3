"""What the benchmarks calculate, and how they ask; not how fast anything is."""
