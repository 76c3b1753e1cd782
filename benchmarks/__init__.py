"""What the backends cost; ``python -m benchmarks`` runs it and writes docs/benchmarks.md."""
