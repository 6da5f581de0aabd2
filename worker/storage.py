"""Where the bytes are: object storage by URL (a local folder, S3, Google Cloud, Azure) behind one small protocol.

Keys: `animations/{id}/source`, `animations/{id}/driving`, `animations/{id}/result-{fence}.mp4` (or what
its format is), `animations/{id}/result-{fence}-{view}.mp4`.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import obstore
import obstore.exceptions
import obstore.store
from typing_extensions import override

from worker.durable_files import UNFINISHED, flush_names, keep_durably, write_durably
from worker.errors import StorageUnavailable
from worker.settings import Settings

if TYPE_CHECKING:
    from obstore import Attributes, BytesStream
    from obstore.store import ClientConfig, RetryConfig, S3Config

_CHUNK_BYTES = 256 * 1024
_PROBE_PREFIX = "readiness-probe"
_RESULT = re.compile(r"[^/]+/(?P<id>[^/]+)/result-\d+(?P<rest>[^/]*)")


Timer = Callable[[str], AbstractContextManager[None]]
"""Given the name of a call (`put`, `get`, ...), measures how long the block takes."""


def _untimed(_op: str) -> AbstractContextManager[None]:
    return nullcontext()


class StoredObject(NamedTuple):
    """What the storage knows of an object."""

    key: str
    size_bytes: int
    etag: str | None
    modified_at: datetime


class Storage(Protocol):
    """What the service needs of an object storage.

    Every method raises `StorageUnavailable` when the storage does not answer or refuses, and `FileNotFoundError` for
    a key that does not exist where it says so.
    """

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        """Store a file whole or not at all; on return it is durable. The file may be removed then, not changed."""
        ...

    def fetch(self, key: str, path: Path) -> None:
        """Write the object to a new local file. Raises FileNotFoundError."""
        ...

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `stop`. Raises FileNotFoundError before the first chunk."""
        ...

    def head(self, key: str) -> StoredObject:
        """Size and entity tag. Raises FileNotFoundError."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that does not exist is no error."""
        ...

    def put_bytes(self, key: str, content: bytes) -> None:
        """Store a few bytes, as `put_file` does a file."""
        ...

    def copy(self, key: str, target: str) -> None:
        """Store a second object of the same content. Raises FileNotFoundError."""
        ...

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a prefix, in no certain order, page by page as they are asked for."""
        ...

    def list_keys(self, prefix: str) -> Iterator[str]:
        """All keys below a prefix."""
        ...

    def remove_unfinished(self, older_than: timedelta) -> None:
        """Remove what a killed process left of a file it was storing, where the storage does not do so itself."""
        ...

    def check(self) -> None:
        """Raise StorageUnavailable unless the storage answers and has the bucket."""
        ...

    def presigned_url(self, key: str, ttl_s: int) -> str | None:
        """A URL under which the storage itself hands out the object for `ttl_s`; None when it has no such thing."""
        ...


class ObjectStorage(Storage):
    """`Storage` over obstore; safe to share between threads."""

    def __init__(
        self,
        store: obstore.store.ObjectStore,
        *,
        folder: Path | None = None,
        public_store: obstore.store.S3Store | None = None,
        timed: Timer = _untimed,
    ) -> None:
        """`folder` is where a local store keeps its files: those are written here, durably. `timed` times a call.

        `public_store` is the same store under the address that clients reach: a signature is good for one host only.
        """
        self._store = store
        self._folder = folder
        self._public_store = public_store or store
        self._timed = timed

    @override
    def put_file(self, key: str, path: Path, media_type: str) -> None:
        with self._timed("put"), _errors_translated(key):
            if self._folder is not None:
                # A local folder has no place for the media type; it is in the record as well.
                keep_durably(self._folder, key, path)
            else:
                with _bucket_expected():
                    obstore.put(self._store, key, path, attributes=_attributes(key, media_type))

    @override
    def put_bytes(self, key: str, content: bytes) -> None:
        with self._timed("put"), _errors_translated(key):
            if self._folder is not None:
                write_durably(self._folder, key, io.BytesIO(content))
            else:
                with _bucket_expected():
                    obstore.put(self._store, key, content)

    @override
    def copy(self, key: str, target: str) -> None:
        with self._timed("copy"), _errors_translated(key):
            obstore.copy(self._store, key, target)
            if self._folder is not None:  # a second name for bytes that are durable already
                flush_names(self._folder, self._folder / target)

    @override
    def fetch(self, key: str, path: Path) -> None:
        chunks = self.read(key, 0, self.head(key).size_bytes)
        # Opened outside the translation: a full local disk is not the storage's fault.
        with path.open("xb") as file:
            file.writelines(chunks)

    @override
    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        with self._timed("get"), _errors_translated(key):
            result = obstore.get(self._store, key, options={"range": (start, stop)})
        return self._chunks(key, result.stream(min_chunk_size=_CHUNK_BYTES))

    def _chunks(self, key: str, stream: BytesStream) -> Iterator[bytes]:
        with _errors_translated(key):
            for chunk in stream:
                yield bytes(chunk)

    @override
    def head(self, key: str) -> StoredObject:
        with self._timed("head"), _errors_translated(key):
            meta = obstore.head(self._store, key)
        return StoredObject(key, meta["size"], meta["e_tag"], meta["last_modified"])

    @override
    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError), self._timed("delete"), _errors_translated(key):
            obstore.delete(self._store, key)

    @override
    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        with _errors_translated(prefix):
            for page in obstore.list(self._store, prefix):
                for meta in page:
                    yield StoredObject(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])

    @override
    def list_keys(self, prefix: str) -> Iterator[str]:
        return (item.key for item in self.list_objects(prefix))

    @override
    def remove_unfinished(self, older_than: timedelta) -> None:
        # A bucket has a lifecycle rule for this (docs/operations.md): its unfinished uploads cannot be listed here.
        if self._folder is None:
            return
        oldest_kept_s = time.time() - older_than.total_seconds()
        for path in self._folder.rglob("*#*"):
            # One that is just being completed may be gone when it is looked at.
            with suppress(FileNotFoundError), _errors_translated(path.name):
                if UNFINISHED.search(path.name) and path.stat().st_mtime < oldest_kept_s:
                    path.unlink()

    @override
    def check(self) -> None:
        # Listed, not looked up: a lookup is told of a bucket that is missing what it is told of an object.
        with self._timed("list"), _errors_translated(_PROBE_PREFIX):
            next(iter(obstore.list(self._store, _PROBE_PREFIX, chunk_size=1)), None)

    @override
    def presigned_url(self, key: str, ttl_s: int) -> str | None:
        store = self._public_store
        if not isinstance(store, obstore.store.S3Store | obstore.store.GCSStore | obstore.store.AzureStore):
            return None
        with _errors_translated(key):
            return obstore.sign(store, "GET", key, timedelta(seconds=ttl_s))


def _attributes(key: str, media_type: str) -> Attributes:
    """How the storage hands out the object: a result as a file to keep, under the name that the API gives it."""
    attributes: Attributes = {"Content-Type": media_type}
    if result := _RESULT.fullmatch(key):
        attributes["Content-Disposition"] = f'attachment; filename="{result["id"]}{result["rest"]}"'
    return attributes


def open_storage(settings: Settings, timed: Timer = _untimed) -> Storage:
    """The storage that `settings.storage_url` names; a local folder is created when it is missing."""
    url = settings.resolved_storage_url
    scheme = urlsplit(url).scheme
    if scheme == "file":
        folder = Path(unquote(urlsplit(url).path))
        folder.mkdir(parents=True, exist_ok=True)
        return ObjectStorage(obstore.store.LocalStore(folder, automatic_cleanup=True), folder=folder, timed=timed)
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=settings.storage_timeout_s),
        "allow_http": settings.storage_endpoint_url.startswith("http://"),
    }
    retries: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
    if scheme in ("s3", "s3a"):
        config: S3Config = {"region": settings.storage_region}
        if settings.storage_endpoint_url:
            config["endpoint"] = settings.storage_endpoint_url
        if settings.storage_access_key_id:
            config["access_key_id"] = settings.storage_access_key_id
            config["secret_access_key"] = settings.storage_secret_access_key
        store = obstore.store.S3Store.from_url(url, config=config, client_options=client, retry_config=retries)
        public_store = None
        if settings.storage_public_endpoint_url:
            public: S3Config = {**config, "endpoint": settings.storage_public_endpoint_url}
            public_store = obstore.store.S3Store.from_url(url, config=public, client_options=client)
        return ObjectStorage(store, public_store=public_store, timed=timed)
    store = obstore.store.from_url(url, client_options=client, retry_config=retries)
    return ObjectStorage(store, timed=timed)


@contextmanager
def _errors_translated(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
        raise FileNotFoundError(key) from error
    except (obstore.exceptions.BaseError, OSError) as error:
        # The message of the client may name hosts and folders: it goes to the log as the cause, not to the caller.
        raise _unavailable() from error


@contextmanager
def _bucket_expected() -> Iterator[None]:
    """For a call that needs no object to be there: what it does not find is the bucket."""
    try:
        yield
    except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
        raise _unavailable() from error


def _unavailable() -> StorageUnavailable:
    return StorageUnavailable("The object storage does not answer, or refuses.", hint="Try again in a moment.")
