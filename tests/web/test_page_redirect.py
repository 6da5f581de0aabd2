"""The page where the storage hands out the results itself (`ANIMATO_RESULT_REDIRECT`)."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.api.conftest import running
from tests.conftest import job_result, wait_until
from tests.web.conftest import OpenPage
from worker.jobs import AnimationOptions, JobContext, JobInput, new_id
from worker.settings import Settings


def test_the_result_comes_from_the_storage(
    redis_url: str, s3_settings: Settings, open_page: OpenPage, job_input: JobInput, short_clip: Path, tmp_path: Path
) -> None:
    settings = s3_settings.model_copy(update={"redis_url": redis_url, "data_dir": tmp_path / "data"})
    with running(settings, result_redirect=True) as service:
        job = service.job_store.submit(new_id(), job_input, AnimationOptions(model="avatars-256"), JobContext())
        claim = service.job_store.claim(job.id, "a worker")
        assert claim
        result = job_result(key=f"animations/{job.id}/result-1.mp4", size_bytes=short_clip.stat().st_size)
        service.storage.put_file(result.key, short_clip, "video/mp4")
        assert service.job_store.commit(job.id, claim.fence, result)

        page = open_page(f"http://127.0.0.1:{service.port}/#{job.id}")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        video = page.locator("#result-panel video")
        expect(video).to_be_visible()
        wait_until(lambda: video.evaluate("video => video.currentTime") > 0.1, "the result plays")
        assert any(url.startswith(f"{s3_settings.storage_endpoint_url}/") for url in asked)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        download.value.save_as(tmp_path / "result.mp4")
        assert (tmp_path / "result.mp4").read_bytes() == short_clip.read_bytes()
        assert download.value.suggested_filename == f"{job.id}.mp4"
