"""Running a model: pixels in, pixels out."""
