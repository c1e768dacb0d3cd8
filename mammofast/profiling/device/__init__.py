"""Work on a GPU, timed by the GPU's own clock and held against what its memory can do."""
