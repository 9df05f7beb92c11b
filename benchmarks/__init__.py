"""What the storage costs, as ratios to one bare request: scripts/bench, docs/benchmarks.md."""
