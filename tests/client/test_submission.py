"""From two files to the result through a network that cuts: one animation, one result, and nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from client.errors import ClientError, DownloadBroken, NotAnimated, Refused, Unreachable
from client.following import follow
from client.service import Service
from client.submission import Begun, Order, finish, submit
from tests.api.conftest import Service as Api
from tests.api.conftest import make_picture
from tests.api.server_process import server_process
from tests.client.conftest import RESULT, Watcher, fail, only_job, succeed
from tests.client.cutting_proxy import Cut, CuttingProxy, cutting_proxy
from tests.conftest import free_port, wait_until
from worker.api_keys import make_key
from worker.job_store import JobStore
from worker.jobs import JobError, JobState
from worker.settings import Settings

Pair = dict[str, Path]
ERROR = JobError(code="inference_failed", detail="no")


def order(pair: Pair, output: Path | None = None, **more: object) -> Order:
    return Order(files=pair, fields={"audio": "false"}, output=output, **more)  # pyright: ignore[reportArgumentType]


def begun(url: str, wanted: Order) -> Begun:
    with Service(url) as service:
        return submit(service, wanted, Watcher())


def test_an_upload_that_is_cut_and_an_answer_that_is_lost(api: Api, proxy: CuttingProxy, pair: Pair) -> None:
    proxy.cuts += [Cut("up", 300), Cut("up", 1500), Cut("down", 20)]
    watcher = Watcher()
    with Service(proxy.url, say=watcher.say) as service:
        animation, _ = submit(service, order(pair), watcher)

    job = only_job(api)
    assert (animation.id, job.state, job.options.audio) == (job.id, JobState.QUEUED, False)
    assert job.input.picture.width == 80
    total = sum(path.stat().st_size for path in pair.values())
    assert watcher.uploads[-1] == (total, total)
    assert proxy.connections == 4
    assert any("does not answer" in line for line in watcher.said)


def test_the_same_order_is_the_same_animation(api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path) -> None:
    first = begun(proxy.url, order(pair)).animation.id
    # The key is made of what the files contain: also under other names, in another process, on another machine.
    copies = {name: tmp_path / f"copy of {path.name}" for name, path in pair.items()}
    for name, path in copies.items():
        path.write_bytes(pair[name].read_bytes())
    assert begun(proxy.url, order(copies)).animation.id == first
    other = {**pair, "source_image": tmp_path / "other.png"}
    other["source_image"].write_bytes(make_picture(90, 90))
    assert begun(proxy.url, order(other)).animation.id != first
    assert begun(proxy.url, Order(files=pair, fields={}, output=None)).animation.id != first
    assert len(api.job_store.page(10)) == 3


def test_beside_its_result_it_remembers_and_uploads_nothing_again(
    api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path
) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    first = begun(proxy.url, wanted).animation.id
    before = proxy.passed["up"]
    assert begun(proxy.url, wanted).animation.id == first
    assert proxy.passed["up"] - before < 500
    # A lost note costs an upload, not a second animation.
    (tmp_path / ".out.mp4.animato").write_text("{")
    assert begun(proxy.url, wanted).animation.id == first
    # Another order for the same place has nothing to do with it.
    assert begun(proxy.url, Order(files=pair, fields={}, output=wanted.output)).animation.id != first


@pytest.mark.parametrize("ending", ["failed", "canceled", "deleted"])
def test_after_an_end_without_a_result_the_same_order_begins_anew(
    api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path, ending: str
) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    first = begun(proxy.url, wanted)
    if ending == "failed":
        fail(api, first.animation.id)
    elif ending == "canceled":
        api.job_store.cancel(first.animation.id)
    else:
        assert api.http.delete(f"/animations/{first.animation.id}").status_code == 204
    with Service(proxy.url) as service:
        if ending == "failed":
            with pytest.raises(NotAnimated, match="no such face") as failed:
                finish(service, wanted, first, Watcher(), cancel_on_interrupt=False)
            assert (failed.value.code, failed.value.hint) == ("subject_not_found", "Count them.")
        second = submit(service, wanted, Watcher()).animation
        assert second.id != first.animation.id
        assert submit(service, wanted, Watcher()).animation.id == second.id
    assert not (tmp_path / "out.mp4").exists()


def test_anew_is_anew_and_can_be_resumed(api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path) -> None:
    first = begun(proxy.url, order(pair, tmp_path / "out.mp4")).animation.id
    second = begun(proxy.url, order(pair, tmp_path / "out.mp4", anew=True)).animation.id
    assert second != first
    assert begun(proxy.url, order(pair, tmp_path / "out.mp4")).animation.id == second


def test_followed_over_streams_that_are_cut(api: Api, proxy: CuttingProxy, pair: Pair) -> None:
    animation = begun(proxy.url, order(pair)).animation
    proxy.cuts += [Cut("down", 2500), Cut("down", 1500)]
    watcher = Watcher()

    def work() -> None:
        claim = api.job_store.claim(animation.id, "a worker")
        assert claim
        for done in range(1, 5):
            api.job_store.heartbeat(animation.id, claim.fence, done)
            wait_until(lambda: any(seen.progress.frames_done >= done for seen in watcher.standings), "it is told")  # noqa: B023
        api.job_store.fail(animation.id, claim.fence, ERROR, attempt=3)

    worker = threading.Thread(target=work)
    worker.start()
    with Service(proxy.url) as service:
        ended = follow(service, animation, watcher.standing)
    worker.join()
    assert (ended.status, ended.error and ended.error.code) == ("failed", "inference_failed")
    done = [seen.progress.frames_done for seen in watcher.standings if not seen.is_final]
    assert done == sorted(done)
    assert proxy.cuts == []


def test_where_no_events_come_through_it_asks(api: Api, proxy: CuttingProxy, pair: Pair) -> None:
    animation = begun(proxy.url, order(pair)).animation
    proxy.cuts += [Cut("down", 60)] * 3
    watcher = Watcher()
    with Service(proxy.url) as service:
        worker = threading.Timer(
            0.1, lambda: (wait_until(lambda: not proxy.cuts, "all are cut"), succeed(api, animation.id))
        )
        worker.start()
        assert follow(service, animation, watcher.standing).status == "succeeded"
        worker.join()


def test_a_download_that_is_cut_goes_on_where_it_was(api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    first = begun(proxy.url, wanted)
    succeed(api, first.animation.id)
    with Service(proxy.url) as service:
        ended = first._replace(animation=follow(service, first.animation))
    proxy.cuts += [Cut("down", 300_000), Cut("down", 100), Cut("down", 500_000)]
    before = proxy.passed["down"]
    watcher = Watcher()
    with Service(proxy.url) as service:
        finish(service, wanted, ended, watcher, cancel_on_interrupt=False)

    assert (tmp_path / "out.mp4").read_bytes() == RESULT
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"], "nothing else is left"
    assert proxy.cuts == []
    assert proxy.passed["down"] - before < len(RESULT) + 20_000, "what had arrived is not asked for again"
    assert watcher.downloads[-1] == (len(RESULT), len(RESULT))


def test_what_another_process_has_downloaded_is_used_unless_it_is_wrong(
    api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path
) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    first = begun(proxy.url, wanted)
    succeed(api, first.animation.id)
    with Service(proxy.url) as service:
        ended = first._replace(animation=follow(service, first.animation))
        assert ended.animation.result
        assert ended.animation.result.sha256
        part = tmp_path / f".out.mp4.{ended.animation.result.sha256[:16]}.part"
        for old in (RESULT[:700_000], b"x" * len(RESULT), RESULT + b"x"):
            part.write_bytes(old)
            before = proxy.passed["down"]
            finish(service, wanted, ended, Watcher(), cancel_on_interrupt=False)
            assert (tmp_path / "out.mp4").read_bytes() == RESULT
            if old == RESULT[:700_000]:
                assert proxy.passed["down"] - before < len(RESULT) - 600_000
    assert not part.exists()


def test_bytes_that_are_not_the_result_never_get_its_name(api: Api, pair: Pair, tmp_path: Path) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    (tmp_path / "out.mp4").write_bytes(b"of yesterday")
    first = begun(f"http://127.0.0.1:{api.port}", wanted)
    succeed(api, first.animation.id, sha256="0" * 64)
    with Service(f"http://127.0.0.1:{api.port}") as service, pytest.raises(DownloadBroken) as broken:
        finish(service, wanted, first, Watcher(), cancel_on_interrupt=False)
    assert broken.value.code == "checksum_mismatch"
    assert (tmp_path / "out.mp4").read_bytes() == b"of yesterday"
    assert list(tmp_path.glob("*.part")) == []


def test_a_full_queue_is_waited_for(settings: Settings, serve: Callable[..., Api], pair: Pair) -> None:
    api = serve(settings=settings, max_queued=1, retry_after_s=1)
    url = f"http://127.0.0.1:{api.port}"
    first = begun(url, order(pair)).animation.id
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        api.job_store.cancel(first)

    with Service(url, say=say) as service:
        second = submit(service, Order(files=pair, fields={}, output=None), Watcher()).animation
    assert second.id != first
    assert "429 (queue_full)" in said[0]


def test_patience_ends(pair: Pair) -> None:
    with Service(f"http://127.0.0.1:{free_port()}", patience_s=0.6) as service, pytest.raises(Unreachable):
        submit(service, order(pair), Watcher())


def test_what_is_refused_is_not_sent_again(api: Api, proxy: CuttingProxy, pair: Pair, tmp_path: Path) -> None:
    swapped = {"source_image": pair["driving_video"], "driving_video": pair["source_image"]}
    with Service(proxy.url) as service, pytest.raises(Refused) as refused:
        submit(service, order(swapped, tmp_path / "out.mp4"), Watcher())
    assert (refused.value.code, refused.value.status) == ("unsupported_media_type", 415)
    assert refused.value.hint
    assert proxy.connections == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_another_one(pair: Pair, media_server: str) -> None:
    with Service(media_server) as service, pytest.raises(ClientError) as other:
        submit(service, order(pair), Watcher())
    assert other.value.code in ("http_501", "not_animato")


def test_with_a_key_and_without(settings: Settings, serve: Callable[..., Api], pair: Pair) -> None:
    key, entry = make_key("me")
    api = serve(settings=settings.model_copy(update={"api_keys": entry}))
    url = f"http://127.0.0.1:{api.port}"
    with Service(url) as service, pytest.raises(Refused) as refused:
        submit(service, order(pair), Watcher())
    assert refused.value.code == "unauthorized"
    with Service(url, api_key=key) as service:
        assert submit(service, order(pair), Watcher()).animation.status == "queued"


def test_a_killed_api_is_waited_for(settings: Settings, job_store: JobStore, pair: Pair, tmp_path: Path) -> None:
    wanted = order(pair, tmp_path / "out.mp4")
    watcher = Watcher()
    with server_process(settings) as first, cutting_proxy(first.port) as proxy:
        begun_ = begun(proxy.url, wanted)

        def restart() -> None:
            wait_until(lambda: bool(watcher.standings), "it is followed")
            first.process.kill()
            first.process.wait()
            with server_process(settings) as second:
                proxy.target_port = second.port
                claim = job_store.claim(begun_.animation.id, "a worker")
                assert claim
                job_store.fail(begun_.animation.id, claim.fence, ERROR, attempt=3)
                done.wait(60)

        done = threading.Event()
        thread = threading.Thread(target=restart)
        thread.start()
        with Service(proxy.url, say=watcher.say) as service:
            assert follow(service, begun_.animation, watcher.standing).status == "failed"
        done.set()
        thread.join(60)
    assert len(watcher.said) > 0
