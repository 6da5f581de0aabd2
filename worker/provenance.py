"""What a result says of its own making: the software, the model, and that it is no recording.

The names are those of others, so that others read them: XMP with the properties of the IPTC Photo Metadata Standard
2025.1 and the vocabulary of digital source types that C2PA uses too; a sentence for people. Nothing of it is about a
person: no names of files, no account, no time. `media_provenance` writes it into files
(docs/decisions/0009-provenance.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Literal
from xml.sax.saxutils import quoteattr

SOFTWARE = "Animato"
SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_NAMESPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "animato": "urn:animato:provenance#",
}
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""{}/>'
    "</rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
)


@cache
def software_version() -> str:
    """The version that runs."""
    return version("animato")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a picture or a video comes from."""

    model: str
    """The bundle's name."""
    bundle_sha256: str
    animation_id: str | None = None
    """None where nobody keeps a record of it."""
    source_type: SourceType = "trainedAlgorithmicMedia"
    """Composite: what no network drew is in the picture as well."""

    @property
    def creator(self) -> str:
        """The software and its version."""
        return f"{SOFTWARE} {software_version()}"

    @property
    def sentence(self) -> str:
        """All of it for people, in one line of ASCII."""
        made_of = "" if self.source_type == "trainedAlgorithmicMedia" else " and from pictures it was given"
        number = f" Animation {self.animation_id}." if self.animation_id else ""
        return (
            f"Made by {self.creator} with the model {self.model} (bundle SHA-256 {self.bundle_sha256}){made_of}. "
            f"This is an artificial animation, not a recording.{number} Digital source type: {self.source_type}."
        )

    @property
    def tags(self) -> dict[str, str]:
        """All of it by names of our own, for containers that take any names."""
        tags = {
            "comment": self.sentence,
            "digital_source_type": self._source_type_uri,
            "software": SOFTWARE,
            "software_version": software_version(),
            "model": self.model,
            "bundle_sha256": self.bundle_sha256,
        }
        return tags | ({"animation_id": self.animation_id} if self.animation_id else {})

    @property
    def xmp(self) -> bytes:
        """All of it as an XMP packet, in UTF-8."""
        values = {
            "xmp:CreatorTool": self.creator,
            "Iptc4xmpExt:DigitalSourceType": self._source_type_uri,
            "Iptc4xmpExt:AISystemUsed": f"{SOFTWARE}, model {self.model}",
            "Iptc4xmpExt:AISystemVersionUsed": software_version(),
            "animato:Model": self.model,
            "animato:BundleSHA256": self.bundle_sha256,
            **({"animato:AnimationID": self.animation_id} if self.animation_id else {}),
        }
        spaces = (f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in _NAMESPACES.items())
        properties = (f" {name}={quoteattr(value)}" for name, value in values.items())
        return _PACKET.format("".join((*spaces, *properties))).encode()

    @property
    def _source_type_uri(self) -> str:
        return _SOURCE_TYPES + self.source_type
