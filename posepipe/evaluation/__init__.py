"""Measures: keypoint similarity and correctness, average precision."""
