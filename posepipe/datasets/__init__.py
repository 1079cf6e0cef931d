"""Readers of labelled people, crop caches, training samples (numpy and OpenCV; no torch)."""
