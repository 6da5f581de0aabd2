"""The networks of the First Order Motion Model: keypoints, dense motion, generator.

Attribute names inside the networks (`down_blocks`, `predictor`, `kp`, `mask`, ...) are the keys of published
checkpoints. They are a file format: renaming one breaks every weight file there is.
"""
