"""The main job of the command line: inputs, the folder of each, frames decoded ahead, and one video after another."""
