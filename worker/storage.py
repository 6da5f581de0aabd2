"""Where the bytes are: object storage by URL (a local folder, S3, Google Cloud, Azure) behind one small protocol.

Keys: `animations/{id}/source`, `animations/{id}/driving`, `animations/{id}/result-{fence}.mp4`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import obstore
import obstore.exceptions
import obstore.store
from typing_extensions import override

from worker.errors import StorageUnavailable
from worker.settings import Settings

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import ClientConfig, RetryConfig, S3Config

_CHUNK_BYTES = 256 * 1024
_PROBE_KEY = "readiness-probe"
_UNFINISHED = re.compile(r"#\d+$")
"""How the local store names a file until it is complete."""


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
        """Store a file whole or not at all; on return it is durable."""
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
        """Raise StorageUnavailable unless the storage answers."""
        ...


class ObjectStorage(Storage):
    """`Storage` over obstore; safe to share between threads."""

    def __init__(self, store: obstore.store.ObjectStore, *, folder: Path | None = None) -> None:
        """`folder` is where a local store keeps its files: those are flushed to the disk here, obstore does not."""
        self._store = store
        self._folder = folder

    @override
    def put_file(self, key: str, path: Path, media_type: str) -> None:
        with _errors_translated(key):
            # A local folder has no place for attributes; the media type is in the record as well.
            attributes = {"Content-Type": media_type} if self._folder is None else None
            obstore.put(self._store, key, path, attributes=attributes)  # pyright: ignore[reportArgumentType]
            self._make_durable(key)

    @override
    def put_bytes(self, key: str, content: bytes) -> None:
        with _errors_translated(key):
            obstore.put(self._store, key, content)
            self._make_durable(key)

    @override
    def copy(self, key: str, target: str) -> None:
        with _errors_translated(key):
            obstore.copy(self._store, key, target)
            self._make_durable(target)

    def _make_durable(self, key: str) -> None:
        if self._folder is not None:
            _flush(self._folder / key, self._folder)

    @override
    def fetch(self, key: str, path: Path) -> None:
        chunks = self.read(key, 0, self.head(key).size_bytes)
        # Opened outside the translation: a full local disk is not the storage's fault.
        with path.open("xb") as file:
            file.writelines(chunks)

    @override
    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        with _errors_translated(key):
            result = obstore.get(self._store, key, options={"range": (start, stop)})
        return self._chunks(key, result.stream(min_chunk_size=_CHUNK_BYTES))

    def _chunks(self, key: str, stream: BytesStream) -> Iterator[bytes]:
        with _errors_translated(key):
            for chunk in stream:
                yield bytes(chunk)

    @override
    def head(self, key: str) -> StoredObject:
        with _errors_translated(key):
            meta = obstore.head(self._store, key)
        return StoredObject(key, meta["size"], meta["e_tag"], meta["last_modified"])

    @override
    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError), _errors_translated(key):
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
                if _UNFINISHED.search(path.name) and path.stat().st_mtime < oldest_kept_s:
                    path.unlink()

    @override
    def check(self) -> None:
        with suppress(FileNotFoundError):  # The storage answered: that is all we asked.
            self.head(_PROBE_KEY)


def open_storage(settings: Settings) -> Storage:
    """The storage that `settings.storage_url` names; a local folder is created when it is missing."""
    url = settings.resolved_storage_url
    scheme = urlsplit(url).scheme
    if scheme == "file":
        folder = Path(unquote(urlsplit(url).path))
        folder.mkdir(parents=True, exist_ok=True)
        return ObjectStorage(obstore.store.LocalStore(folder, automatic_cleanup=True), folder=folder)
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(seconds=120),
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
        return ObjectStorage(store)
    return ObjectStorage(obstore.store.from_url(url, client_options=client, retry_config=retries))


@contextmanager
def _errors_translated(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
        raise FileNotFoundError(key) from error
    except (obstore.exceptions.BaseError, OSError) as error:
        # The message of the client may name hosts and folders: it goes to the log as the cause, not to the caller.
        raise StorageUnavailable("The object storage does not answer.", hint="Try again in a moment.") from error


def _flush(path: Path, root: Path) -> None:
    """Make a stored file survive a power cut: its bytes and the directory entries that lead to it."""
    for place in (path, *(parent for parent in path.parents if parent == root or root in parent.parents)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
