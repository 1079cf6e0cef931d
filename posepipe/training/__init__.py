"""Training: typed recipes, one engine for every network, start weights (needs the ``train`` extra)."""
