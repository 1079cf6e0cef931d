"""Pose heatmap volumes, what action models see of people: drawn frames, one crop, gaussians over time. Numpy alone."""
