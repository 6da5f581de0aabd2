"""What can go wrong in an evaluation."""

from model.errors import ModelError


class EvaluationError(ModelError):
    """An evaluation cannot be made.

    Codes: evaluate_extra_missing (the face detector is not installed) baseline_size_differs.
    """
