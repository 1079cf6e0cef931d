"""Trackers: poses of one frame after another in, the same poses with lasting ids out."""
