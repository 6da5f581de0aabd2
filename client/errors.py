"""What can go wrong between a caller and the service, as one tree.

ClientError              code, detail, hint
├── Refused              the service said no to this request: sending it again changes nothing
├── Unreachable          no answer, or only answers that ask for patience, for as long as patience lasted
├── NotAnimated          the animation failed or was canceled: it has no result
└── DownloadBroken       what was downloaded is not what the service has
"""

from __future__ import annotations


class ClientError(Exception):
    """An error with a stable code, a sentence for people and a hint what to do."""

    code = "client_error"

    def __init__(self, detail: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.code = code or self.code


class Refused(ClientError):
    """The service said no; `code` is that of its problem."""

    code = "refused"

    def __init__(self, detail: str, *, code: str, hint: str | None = None, status: int = 0) -> None:
        super().__init__(detail, code=code, hint=hint)
        self.status = status


class Unreachable(ClientError):
    """Patience has ended."""

    code = "unreachable"


class NotAnimated(ClientError):
    """The animation has ended without a result; `code` is that of its error, or `animation_canceled`."""

    code = "animation_failed"


class DownloadBroken(ClientError):
    """The bytes are others than the service told of."""

    code = "checksum_mismatch"
