"""Why a training run cannot start or go on. The tree hangs below `model.errors.ModelError`.

    ModelError
    └── TrainingError              a run that cannot start: wrong folder, missing weights, unusable settings
        └── TrainingStopped        a run that was stopped; its last checkpoint is good
            └── TrainingInterrupted    ... because somebody asked (Ctrl-C, SIGTERM); a checkpoint was written

The codes are:

    run_exists run_not_found run_mismatch schedule_incomplete batch_mismatch
    initial_weights_mismatch backbone_not_found backbone_mismatch extra_not_installed export_differs
    loss_not_finite weights_not_finite keypoints_collapsed loss_diverged interrupted
"""

from model.errors import ModelError


class TrainingError(ModelError):
    """A run that cannot start, or a run folder that cannot be used."""


class TrainingStopped(TrainingError):
    """A run that had to stop. `checkpoint` in the hint is the last good state."""


class TrainingInterrupted(TrainingStopped):
    """A run that was asked to stop, and wrote a checkpoint first."""
