"""How fast microgad is, as ratios: ``python -m benchmarks`` from the root of a checkout."""
