"""Neural networks (torch modules only; needs the ``torch`` extra)."""
