"""The face detector: dlib's, with the weights that the package face-recognition-models carries.

Needs the extra `evaluate`. The landmarks were trained on iBUG 300-W, whose terms exclude commercial use (NOTICE).

Shapes: H W height and width, C channels, P = 68 landmarks, E = 128 numbers of an embedding, 2 = (x, y).
"""

import importlib
import importlib.util
import math
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.evaluation.detectors import Found
from model.evaluation.errors import EvaluationError

_WEIGHTS_PACKAGE = "face_recognition_models"
_LANDMARKS_FILE = "shape_predictor_68_face_landmarks.dat"
_EMBEDDING_FILE = "dlib_face_recognition_resnet_model_v1.dat"
# dlib's landmarks are whole pixels. On an enlarged frame they are finer, and the small faces of small frames are found.
_SMALLEST_SIDE_PX = 384


class DlibFaces:
    """Finds the largest face of a frame: 68 landmarks and a 128-number embedding.

    Raises `EvaluationError` with code `evaluate_extra_missing`.
    """

    def __init__(self) -> None:
        try:
            dlib = importlib.import_module("dlib")
            weights_dir = _weights_dir()
        except ImportError as error:
            raise EvaluationError(
                "evaluate_extra_missing",
                f"The face detector is not installed: {error}.",
                "pip install 'animato[evaluate]', or choose --detector none.",
            ) from error
        self._version: str = dlib.__version__
        self._find_boxes = dlib.get_frontal_face_detector()
        self._find_landmarks = dlib.shape_predictor(str(weights_dir / _LANDMARKS_FILE))
        self._embed = dlib.face_recognition_model_v1(str(weights_dir / _EMBEDDING_FILE))

    @property
    def facts(self) -> Mapping[str, str]:
        """Return the name and the versions."""
        return {
            "name": "dlib frontal faces, 68 landmarks, 128-number embedding",
            "dlib": self._version,
            "face-recognition-models": metadata.version("face-recognition-models"),
        }

    def find(self, frame_HWC: NDArray[np.uint8]) -> Found | None:
        """Return the largest face of an RGB frame, or None."""
        factor = max(1, math.ceil(_SMALLEST_SIDE_PX / min(frame_HWC.shape[:2])))
        image_HWC = _enlarged(frame_HWC, factor)
        boxes = self._find_boxes(image_HWC, 0)
        if not boxes:
            return None
        face = self._find_landmarks(image_HWC, max(boxes, key=lambda box: box.area()))
        places_P2 = np.array([(part.x, part.y) for part in face.parts()], np.float64)
        embedding_E = np.array(self._embed.compute_face_descriptor(image_HWC, face), np.float64)
        # Enlarging keeps the edges of the frame where they are, so pixel centres move by half a pixel.
        return Found((places_P2 + 0.5) / factor - 0.5, embedding_E)


def _weights_dir() -> Path:
    # Found, not imported: the package's own code needs setuptools' pkg_resources, which newer ones no longer have.
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"No module named {_WEIGHTS_PACKAGE!r}")
    return Path(spec.submodule_search_locations[0]) / "models"


def _enlarged(frame_HWC: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return np.ascontiguousarray(frame_HWC)
    from PIL import Image

    height, width = frame_HWC.shape[:2]
    return np.asarray(Image.fromarray(frame_HWC).resize((factor * width, factor * height), Image.Resampling.BICUBIC))
