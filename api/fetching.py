"""Fetch one input from the host where its owner keeps it, under the limits of an upload.

Each step of a redirect is judged like the first URL: scheme, port, name, and the address that is connected to. What the
other side says is never shown to the caller but for its status: a URL must not become a way to read what answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from api.errors import InputNotFetched, InputUrlRefused
from api.file_parts import URL_FIELDS, FilePart, ReceivedFile
from api.outbound import Deadline, DestinationRefused, OutboundPolicy, Reply, TooSlow, Unanswered, get
from api.settings import ApiSettings
from worker import logs

log = logs.get_logger(__name__)

_HEADERS = {
    "Accept": "*/*",
    # A packed body would have a size that no limit has seen.
    "Accept-Encoding": "identity",
    "User-Agent": "Animato",
}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 429})


class Fetch:
    """The way of one file from its URL to the disk. `run` blocks; `stop` ends it from another thread."""

    def __init__(
        self,
        part: str,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        policy: OutboundPolicy,
        settings: ApiSettings,
        until_s: float,
    ) -> None:
        """Fetch `url` for the file `part` into `path` until `until_s` of the monotonic clock."""
        self._field = URL_FIELDS[part]
        self._part = part
        self._url = url
        self._path = path
        self._max_bytes = max_bytes
        self._policy = policy
        self._settings = settings
        self._until_s = until_s
        self._started_s = time.monotonic()
        self._received_bytes = 0
        self._deadline = Deadline(0)
        self.is_unwanted = False
        """Set by who saw the caller leave."""

    def run(self) -> ReceivedFile:
        """The file. Raises InputUrlRefused, InputNotFetched, PartRejected, OSError."""
        file = FilePart(self._part, self._path, self._max_bytes, field=self._field)
        try:
            self._read_into(file)
            return file.finish()
        except DestinationRefused as error:
            raise self._refused(str(error)) from error
        except TooSlow as error:
            raise InputNotFetched(
                f"{self._field} was given up after {time.monotonic() - self._started_s:.0f} s.",
                code="input_url_too_slow",
                field=self._field,
                hint=f"Its host must send {self._settings.upload_min_bytes_per_s} bytes per second, and all of it "
                f"within {self._settings.upload_total_timeout_s:.0f} s.",
            ) from error
        except Unanswered as error:
            # What the network says of hosts that are not reached stays in the log.
            log.info("input_not_reached", field=self._field, cause=str(error))
            raise InputNotFetched(
                f"{self._field}: the host cannot be reached, or broke off.",
                code="input_url_unreachable",
                field=self._field,
                hint="Check the name of the host, then send it again.",
            ) from error
        finally:
            file.close()

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._deadline.stop()

    def _read_into(self, file: FilePart) -> None:
        url = self._url
        for _ in range(self._settings.input_url_max_redirects + 1):
            self._move_deadline()
            with get(url, _HEADERS, self._policy, self._deadline) as reply:
                if reply.status not in _REDIRECTS or "location" not in reply.headers:
                    self._check_head(reply)
                    for chunk in reply.body:
                        self._received_bytes += len(chunk)
                        self._move_deadline()
                        file.write(memoryview(chunk))
                    return
                url = _followed(url, reply.headers)
        raise self._refused(f"It leads through more than {self._settings.input_url_max_redirects} redirects.")

    def _check_head(self, reply: Reply) -> None:
        if reply.status != 200:
            passes = reply.status >= 500 or reply.status in _MAY_PASS
            raise InputNotFetched(
                f"{self._field}: the host answered with status {reply.status}.",
                code="input_url_unreachable" if passes else "input_url_failed",
                field=self._field,
                hint="Send it again later." if passes else "Open the URL where no cookie and no key is sent along.",
            )
        if reply.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise InputNotFetched(
                f"{self._field}: the host sends the file packed.",
                code="input_url_failed",
                field=self._field,
                hint="It must be sent as it is, without Content-Encoding.",
            )

    def _move_deadline(self) -> None:
        """The limits of an upload: a whole time, and after a time of grace a speed."""
        grace_s = self._settings.upload_grace_s + self._received_bytes / self._settings.upload_min_bytes_per_s
        self._deadline.until_s = min(self._until_s, self._started_s + grace_s)

    def _refused(self, why: str) -> InputUrlRefused:
        return InputUrlRefused(
            f"{self._field} cannot be used. {why}",
            field=self._field,
            hint="Which hosts are allowed is up to the operator (ANIMATO_INPUT_URL_HOSTS). Or send the file itself.",
        )


def _followed(url: str, headers: Mapping[str, str]) -> str:
    try:
        return str(httpx.URL(url).join(headers["location"]))
    except (httpx.InvalidURL, ValueError) as error:
        raise DestinationRefused("It leads to what is no URL.") from error
