"""How a result tells that it is one: by what is written into its file, and by a label in its pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Self

from numpy import uint8
from numpy.typing import NDArray

from worker.catalog import ModelFacts
from worker.engine.label import Label, LabelStyle
from worker.jobs import AnimationOptions
from worker.provenance import Provenance, SourceType
from worker.settings import Settings

_ALWAYS_MARKED = "This installation marks every result with a label."


class Disclosure(NamedTuple):
    """Of one animation and its views. Without arguments it tells nothing."""

    provenance: Provenance | None = None
    label: LabelStyle | None = None
    warnings: tuple[str, ...] = ()
    """What is told though it was not asked for, in sentences."""

    @classmethod
    def of(
        cls, settings: Settings, options: AnimationOptions, model: ModelFacts, animation_id: str | None = None
    ) -> Self:
        """What the installation and the options want."""
        provenance = None
        if settings.provenance:
            # Pasted back, the frame of the picture is what it was.
            provenance = _of_kind(
                options.paste_back,
                Provenance(model=model.name, bundle_sha256=model.bundle_sha256, animation_id=animation_id),
            )
        forced = settings.mark == "always"
        marked = forced or options.mark == "label"
        return cls(
            provenance,
            label_style(settings) if marked else None,
            (_ALWAYS_MARKED,) if forced and options.mark == "none" else (),
        )

    def of_view(self, *, shows_inputs: bool) -> Provenance | None:
        """What is written into a view; with the picture or the clip in it, it is a composite."""
        return self.provenance and _of_kind(shows_inputs, self.provenance)

    def marker(self, width: int, height: int) -> Callable[[NDArray[uint8]], NDArray[uint8]]:
        """What is to be done to each frame, `uint8_HWC`, of this size; the frame itself stays as it is."""
        return Label(self.label, width, height) if self.label else lambda frame_HWC: frame_HWC


NOTHING_DISCLOSED = Disclosure()


def label_style(settings: Settings) -> LabelStyle:
    """The label of the installation."""
    return LabelStyle(settings.mark_text, settings.mark_font)


def check_label(settings: Settings) -> None:
    """Raise ValueError when the label of the installation cannot be drawn: at the start, not in every animation."""
    try:
        label_style(settings).check()
    except ValueError as error:
        raise ValueError(f"ANIMATO_MARK_TEXT cannot be drawn: {error}. ANIMATO_MARK_FONT names another font.") from None


def _of_kind(mixed: bool, provenance: Provenance) -> Provenance:
    kind: SourceType = "compositeWithTrainedAlgorithmicMedia" if mixed else "trainedAlgorithmicMedia"
    return replace(provenance, source_type=kind)
