"""A multipart form, read piece by piece: files go straight to the disk, every limit counts while the bytes arrive.

`UploadFile` of the framework is not used: it has no limit for one file, and it reads a form to its end before anybody
can say no. The names that clients give their files are never used for anything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import BadForm, NotMultipart, TooLarge
from api.file_parts import FILE_PARTS, IN_PLACE_OF, SOURCE_IMAGE, FilePart, ReceivedFile
from worker.settings import MediaLimits

_HEADER_MAX_BYTES = 8192
"""A file name of 4 kB is odd, but it is ignored anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FormLimits:
    """What a form may be."""

    max_parts: int
    field_max_bytes: int
    media: MediaLimits

    def of_file(self, name: str) -> int:
        """The most bytes of the file part `name`."""
        return self.media.image_max_bytes if name == SOURCE_IMAGE else self.media.video_max_bytes


class FormReader:
    """Feed it with `write`, then call `finish`. Not safe to share between threads, and it need not be.

    Every method raises ApiError as soon as the form cannot be accepted any more.
    """

    def __init__(
        self,
        content_type: str,
        folder: Path,
        fields: Collection[str],
        limits: FormLimits,
        file_parts: Collection[str] = FILE_PARTS,
    ) -> None:
        self._file_parts = file_parts
        self.files: dict[str, ReceivedFile] = {}
        self.fields: dict[str, str] = {}
        self._folder = folder
        self._known_fields = fields
        self._limits = limits
        self._parts = 0
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._part_name: str | None = None
        self._file: FilePart | None = None
        self._text = bytearray()
        self._parser = _parser(content_type, self)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body; what follows the last boundary is ignored, as the standard says."""
        if self._ended:
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadForm("The body is not a well-formed multipart form.", hint=_CURL_HINT) from error

    def finish(self) -> None:
        """The body has ended: all parts must be there."""
        if not self._ended:
            raise BadForm("The body ends in the middle of the form.", hint=_CURL_HINT)
        for name in self._file_parts:
            # What stands in its place is judged, and fetched, by who knows whether it may be.
            if name not in self.files and not any(field in self.fields for field in IN_PLACE_OF[name]):
                raise BadForm(
                    f"The file '{name}' is missing.", code="missing_part", field=name, hint=self._known_parts()
                )

    def close(self) -> None:
        """Close the file that is being written, if any."""
        if self._file:
            self._file.close()
            self._file = None

    # -- callbacks of the parser ------------------------------------------------------------------------------------

    def on_part_begin(self) -> None:
        """A part begins; its headers follow."""
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise BadForm(f"The form has more than {self._limits.max_parts} parts.", code="too_many_parts")
        self._part_name = None
        self._text.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        """A header is complete: only the name of the part is of interest."""
        if self._header_name.lower() == b"content-disposition":
            disposition, parameters = parse_options_header(bytes(self._header_value))
            if disposition == b"form-data" and b"name" in parameters:
                self._part_name = parameters[b"name"].decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def on_headers_finished(self) -> None:
        """The content of the part follows: is it one of ours?"""
        name = self._part_name
        if name is None:
            raise BadForm("A part of the form has no name.", hint=_CURL_HINT)
        if name in self.files or name in self.fields:
            raise BadForm(f"The part '{name}' occurs twice.", code="duplicate_part", field=name)
        if name in self._file_parts:
            self._file = FilePart(name, self._folder / name, self._limits.of_file(name))
        elif name not in self._known_fields:
            shown = name if len(name) <= 64 and name.isprintable() else name[:64].encode("unicode_escape").decode()
            raise BadForm(
                f"There is no part called '{shown}'.", code="unknown_part", field=shown, hint=self._known_parts()
            )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's content."""
        if self._file:
            self._file.write(memoryview(data)[start:end])
            return
        if len(self._text) + end - start > self._limits.field_max_bytes:
            raise TooLarge(
                f"The field '{self._part_name}' has more than {self._limits.field_max_bytes} bytes.",
                code="field_too_large",
                field=self._part_name,
            )
        self._text += data[start:end]

    def on_part_end(self) -> None:
        """The part is complete."""
        assert self._part_name is not None
        if self._file:
            self.files[self._part_name] = self._file.finish()
            self._file = None
            return
        try:
            self.fields[self._part_name] = self._text.decode()
        except UnicodeDecodeError as error:
            raise BadForm(f"The field '{self._part_name}' is not UTF-8 text.", field=self._part_name) from error

    def on_end(self) -> None:
        """The last boundary was seen."""
        self._ended = True

    def _known_parts(self) -> str:
        return f"Files: {', '.join(self._file_parts)}. Fields: {', '.join(sorted(self._known_fields))}."


def _parser(content_type: str, reader: FormReader) -> MultipartParser:
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise NotMultipart("The request must be 'multipart/form-data' with two files.", hint=_CURL_HINT)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise BadForm("The Content-Type header has no boundary.", hint=_CURL_HINT)
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": reader.on_part_begin,
                "on_header_field": reader.on_header_field,
                "on_header_value": reader.on_header_value,
                "on_header_end": reader.on_header_end,
                "on_headers_finished": reader.on_headers_finished,
                "on_part_data": reader.on_part_data,
                "on_part_end": reader.on_part_end,
                "on_end": reader.on_end,
            },
            max_header_size=_HEADER_MAX_BYTES,
        )
    except FormParserError as error:
        raise BadForm("The boundary of the form is too long.", hint=_CURL_HINT) from error


_CURL_HINT = "For example: curl -F source_image=@face.png -F driving_video=@talk.mp4 .../animations"
