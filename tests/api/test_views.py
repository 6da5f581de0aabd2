"""GET /animations/{id}/views/{name}: as the result, and gone with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from api.object_sweeper import ObjectSweeper
from api.settings import ApiSettings
from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.api_keys import KeyStore
from worker.jobs import AnimationOptions, JobContext, JobInput, JobView, new_id
from worker.settings import Settings

Serve = Callable[..., Service]
FLOW = b"a flow, one would think" * 100
ETAG = f'"{hashlib.sha256(FLOW).hexdigest()}"'


def finished(service: Service, job_input: JobInput, tmp_path: Path, client_id: str | None = None) -> str:
    """The path of an animation with a result in WebM and one view."""
    options = AnimationOptions(format="webm", views="flow")
    job = service.job_store.submit(new_id(), job_input, options, JobContext(client_id=client_id))
    claim = service.job_store.claim(job.id, "a worker")
    assert claim
    local = tmp_path / "file"
    local.write_bytes(FLOW)
    keys = [f"animations/{job.id}/result-{claim.fence}{end}" for end in (".webm", "-flow.mp4")]
    for key in keys:
        service.storage.put_file(key, local, "video/mp4")
    flow = JobView(
        key=keys[1],
        media_type="video/mp4",
        size_bytes=len(FLOW),
        sha256=ETAG.strip('"'),
        width=256,
        height=256,
    )
    result = job_result(
        key=keys[0],
        media_type="video/webm",
        size_bytes=len(FLOW),
        views={"flow": flow},
        held_frames=((3, 3), (7, 9)),
    )
    assert service.job_store.commit(job.id, claim.fence, result)
    return f"/animations/{job.id}"


def test_it_is_served_as_the_result_is(service: Service, job_input: JobInput, tmp_path: Path) -> None:
    path = finished(service, job_input, tmp_path)
    animation = service.http.get(path).json()
    assert animation["options"]["views"] == "flow"
    assert animation["result"]["held_frames"] == [[3, 3], [7, 9]]
    assert "views" not in animation["result"]
    view = animation["views"]["flow"]
    assert list(animation["views"]) == ["flow"]
    assert view["url"].startswith(f"{path}/views/flow?expires=")
    assert (view["media_type"], view["size_bytes"], view["width"]) == ("video/mp4", len(FLOW), 256)
    for url in (f"{path}/views/flow", view["url"]):
        whole = service.http.get(url)
        assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, FLOW, ETAG)
        assert whole.headers["content-type"] == "video/mp4"
        assert service.http.head(url).headers["content-length"] == str(len(FLOW))
        part = service.http.get(url, headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, FLOW[2:6])
        assert service.http.get(url, headers={"If-None-Match": ETAG}).status_code == 304
    name = path.rpartition("/")[2]
    assert whole.headers["content-disposition"] == f'attachment; filename="{name}-flow.mp4"'
    result = service.http.get(f"{path}/result")
    assert result.headers["content-disposition"] == f'attachment; filename="{name}.webm"'
    assert result.headers["content-type"] == "video/webm"


@pytest.mark.parametrize("name", ["occlusion", "nonsense", "flow.mp4", "Flow", "%2e%2e"])
def test_what_was_not_asked_for(service: Service, job_input: JobInput, tmp_path: Path, name: str) -> None:
    problem = assert_problem(
        service.http.get(f"{finished(service, job_input, tmp_path)}/views/{name}"), 404, "view_not_found"
    )
    assert problem["hint"] == "It has: flow."


def test_not_yet(service: Service, job_input: JobInput) -> None:
    job = service.job_store.submit(new_id(), job_input, AnimationOptions(views="flow"))
    assert service.http.get(f"/animations/{job.id}").json()["views"] == {}
    assert_problem(service.http.get(f"/animations/{job.id}/views/flow"), 409, "not_finished")


def test_a_link_opens_one_file_and_a_key_only_what_is_its_own(
    serve: Serve, settings: Settings, job_input: JobInput, tmp_path: Path
) -> None:
    keys = KeyStore.connect(settings)
    one, two = ({"X-API-Key": keys.create(name).text} for name in ("one", "two"))
    keys.close()
    service = serve()
    path = finished(service, job_input, tmp_path, "one")
    animation = service.http.get(path, headers=one).json()
    query = animation["views"]["flow"]["url"].partition("?")[2]
    of_result = animation["result"]["url"].partition("?")[2]
    assert service.http.get(f"{path}/views/flow?{query}").status_code == 200
    for wrong in (f"{path}/result?{query}", f"{path}/views/flow?{of_result}", f"{path}/views/keypoints?{query}"):
        assert_problem(service.http.get(wrong), 403, "link_invalid")
    assert_problem(service.http.get(f"{path}/views/flow"), 401, "unauthorized")
    assert_problem(service.http.get(f"{path}/views/flow", headers=two), 404, "animation_not_found")
    assert service.http.get(f"{path}/views/flow", headers=one).status_code == 200


def test_it_goes_with_its_animation(service: Service, job_input: JobInput, tmp_path: Path) -> None:
    path = finished(service, job_input, tmp_path)
    assert service.http.delete(path).status_code == 204
    assert_problem(service.http.get(f"{path}/views/flow"), 404, "animation_not_found")
    assert list(service.storage.list_keys("animations")) == []


def test_the_sweep_keeps_those_of_the_result_and_no_others(
    service: Service, job_input: JobInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(service, job_input, tmp_path).lstrip("/")
    late = f"{folder}/result-7-flow.mp4"
    service.storage.put_bytes(late, b"of a worker that came too late")
    kept = set(service.storage.list_keys(folder)) - {late}
    service.storage.delete("owner")  # the mark of the test before
    now_s = service.job_store.upkeep.now_s()
    monkeypatch.setattr(type(service.job_store.upkeep), "now_s", lambda _: now_s + 7200)
    ObjectSweeper(service.job_store, service.storage, tmp_path / "uploads", ApiSettings()).remove_orphans()
    assert set(service.storage.list_keys(folder)) == kept
    assert len(kept) == 2


def test_options_that_do_not_exist(service: Service, files: dict[str, tuple[str, bytes]]) -> None:
    for field, value in (("views", "flow,depth"), ("views", "flow, occlusion"), ("format", "avi")):
        problem = assert_problem(service.post(files, {field: value}), 422, "invalid_options", field)
        assert problem["detail"]
    service.assert_nothing_left()
