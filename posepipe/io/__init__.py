"""Reading and writing: video, pictures, records, exports and weights."""
