#!/usr/bin/env bash
# The images and the whole stack, run as an operator runs them: built, started, used through the published port, scaled,
# broken, taken down and up again. Prints what it sees; the first miss ends it with 1. Part of the release checklist.
#   docker/smoke.sh            needs docker with compose and about 15 minutes; nothing of a running stack is touched
#   SMOKE_KEEP=1 docker/smoke.sh        leaves the stack up
#   SMOKE_FRAMES=12 docker/smoke.sh     for slow machines: after the first animation only so many frames of the sample
set -euo pipefail
cd "$(dirname "$0")/.."

PROJECT=animato-smoke
export ANIMATO_PORT=${SMOKE_PORT:-18000}
# This machine may be busy with building and testing: here a look may take its time.
export ANIMATO_PREFLIGHT_TIMEOUT_S=180
URL=http://127.0.0.1:$ANIMATO_PORT
source docker/smoke_tools.sh

miss() {
    say "MISS: $*"
    compose ps -a >&2 || true
    compose logs --tail 15 >&2 || true
    exit 1
}
compose() { docker compose --project-name $PROJECT --env-file "$WORK/secrets" "$@"; }
cleared() {
    [[ ${SMOKE_KEEP:-} ]] || compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$WORK"
}
trap cleared EXIT

call() { curl -fsS "$@"; }
has_begun_or_ended() {
    [[ $(field "$1" 'a["status"] not in ("queued", "processing") or a["progress"]["frames_done"] > 0') == True ]]
}
metric() {
    curl -fsS -H "Authorization: Bearer $TOKEN" "$URL/metrics" | awk -v name="$1" '$1 == name { print int($2) }'
}
has_left_the_queue() { [[ $(field "$1" 'a["status"]') != queued ]]; }
counts() { [[ $(metric "$1") == "$2" ]]; }
container() { compose ps -q "$1"; }

# checked ID: it succeeded, and what the API hands out is what lies in the store, byte by byte
checked() {
    local served stored
    is "$1" succeeded || miss "$1 is $(field "$1" 'a["status"], a["error"]')"
    served=$(curl -fsS "$URL/animations/$1/result" | sha256sum | cut -d ' ' -f 1)
    stored=$(compose exec -T api python - "$1" <<'END'
import hashlib, sys
from worker.settings import Settings
from worker.storage import open_storage
storage = open_storage(Settings())
(key,) = [key for key in storage.list_keys(f"animations/{sys.argv[1]}/") if "/result" in key]
print(hashlib.sha256(b"".join(storage.read(key, 0, storage.head(key).size_bytes))).hexdigest())
END
    )
    [[ $served == "$stored" ]] || miss "$1: $served is served, $stored is stored"
    say "    $1 succeeded, attempt $(field "$1" 'a["attempt"]'), sha256 ${served:0:16} served and stored"
    echo "$served" >"$WORK/$1"
}
all_succeed() {
    local id
    for id; do
        eventually 600 is "$id" succeeded || miss "$id is $(field "$id" 'a["status"]') after 10 minutes"
        checked "$id"
    done
}

clip=api/samples/driving.mp4
say "1. images"
if docker compose --env-file /dev/null config >"$WORK/config" 2>&1; then
    say "MISS: the stack starts without secrets"
    exit 1
fi
say "    without secrets: $(tail -n 1 "$WORK/config")"
docker/secrets.sh "$WORK/secrets" >/dev/null
[[ $(stat -c %a "$WORK/secrets") == 600 ]] || miss "the secrets can be read by others"
TOKEN=$(sed -n 's/^ANIMATO_METRICS_TOKEN=//p' "$WORK/secrets")
compose build --quiet api worker
base=$(docker image inspect -f '{{.Size}}' python:3.11-slim-bookworm)
for image in animato-api animato-worker; do
    size=$(docker image inspect -f '{{.Size}}' $image)
    say "    $image: $((size / 1000000)) MB, $(((size - base) / 1000000)) MB of them above the base image"
done
size=$(docker image inspect -f '{{.Size}}' animato-api)
((size - base <= 250000000)) || miss "the API's image has grown: more than 250 MB above the base image"
for package in torch numpy; do
    docker run --rm --network none animato-api python -c "import importlib.util as u, sys; sys.exit(bool(u.find_spec('$package')))" ||
        miss "$package is in the API's image"
done

say "2. up"
compose up -d --wait --wait-timeout 300 >"$WORK/up" 2>&1 || { cat "$WORK/up"; miss "it does not come up"; }
published=$(docker ps --filter label=com.docker.compose.project=$PROJECT --format '{{.Ports}}' | grep -o '[0-9.:]*->[0-9]*' | sort -u)
[[ $published == "127.0.0.1:$ANIMATO_PORT->8000" ]] || miss "published: $published"
say "    all healthy; published: $published"
for service in api worker preflight redis object-store; do
    id=$(container $service)
    facts=$(docker inspect -f '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.LogConfig.Config}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' "$id")
    grep -qE '^[1-9][0-9]*:[1-9][0-9]* true \[ALL\] \[no-new-privileges:true\] map\[max-file:3 max-size:10m\] [1-9][0-9]+ [1-9][0-9]+$' <<<"$facts" ||
        miss "$service: $facts"
    running=$(docker top "$id" -eo pid,uid | awk 'NR > 1 { print $2 }' | sort -u | xargs)
    say "    $service: processes of uid $running; $facts"
    [[ " $running " != *" 0 "* ]] || miss "$service runs as root"
done
refused=$(compose exec -T redis env -u REDISCLI_AUTH redis-cli ping 2>&1 || true)
[[ $refused == *NOAUTH* ]] || miss "Redis without its password: $refused"
say "    Redis without its password: $refused"
refused=$(compose exec -T api python -c '
import urllib.request, urllib.error
try: print(urllib.request.urlopen("http://object-store:8333/animations").status)
except urllib.error.HTTPError as error: print(error.code)')
[[ $refused == 403 ]] || miss "the store without a key: $refused"
say "    the store without a key: $refused"
for setting in appendonly=yes appendfsync=always maxmemory-policy=noeviction; do
    [[ $(compose exec -T redis redis-cli config get "${setting%=*}" | tail -n 1) == "${setting#*=}" ]] || miss "Redis: not $setting"
done
curl -fsS "$URL/metrics" >/dev/null && say "    metrics: read"

say "3. one animation through the published port"
code=$(curl -sS -o "$WORK/preflight" -w '%{http_code}' "$URL/animations/preflight" -F source_image=@api/samples/source.png -F driving_video=@api/samples/driving.mp4)
[[ $code == 200 ]] || miss "preflight: $code $(cat "$WORK/preflight")"
say "    preflight: $(foreseen "$WORK/preflight")"
first=$(submit)
all_succeed "$first"

if [[ ${SMOKE_FRAMES:-} ]]; then
    clip=$WORK/clip.mkv
    docker run --rm --network none --volume "$PWD/api/samples:/samples:ro" animato-api python -c '
import imageio_ffmpeg, os, sys
program = imageio_ffmpeg.get_ffmpeg_exe()
os.execv(program, [program, "-v", "error", "-i", "/samples/driving.mp4", "-frames:v", sys.argv[1], "-f", "matroska", "-"])
' "$SMOKE_FRAMES" >"$clip"
    say "    from here on with $SMOKE_FRAMES frames"
fi

say "4. three workers, one killed in mid-job"
compose up -d --wait --wait-timeout 300 --no-recreate --scale worker=3 >"$WORK/up" 2>&1 || { cat "$WORK/up"; miss "no three workers"; }
eventually 60 counts animato_workers_alive 3 || miss "$(metric animato_workers_alive) workers"
say "    $(metric animato_workers_alive) workers alive"
# A quick worker may be done between the look and the blow: then there was no killing in mid-job, and it is tried again.
attempt=1
for try in 1 2 3 4 5; do
    ids=()
    for _ in 1 2 3 4; do ids+=("$(submit)"); done
    victim=${ids[0]}
    eventually 300 has_begun_or_ended "$victim" || miss "$victim does not begin"
    killed=
    for worker in $(container worker); do
        docker logs "$worker" >"$WORK/log" 2>&1
        if grep animation_claimed "$WORK/log" >"$WORK/claims" && grep -q "$victim" "$WORK/claims"; then killed=$worker; fi
    done
    [[ $killed ]] || miss "no worker says that it has $victim"
    at=$(field "$victim" 'a["status"], a["progress"]["frames_done"], "of", a["progress"]["frames_total"]')
    docker kill --signal KILL "$killed" >/dev/null
    say "    killed $(docker inspect -f '{{.Name}}' "$killed") while $victim was $at"
    all_succeed "${ids[@]}"
    attempt=$(field "$victim" 'a["attempt"]')
    ((attempt < 2)) || break
    say "    it was too late: $victim had ended, again with others"
    compose up -d --wait --wait-timeout 300 --no-recreate --scale worker=3 >/dev/null 2>&1 || miss "the worker does not come back"
done
((attempt >= 2)) || miss "no killed one was begun again in $try tries"
compose up -d --wait --wait-timeout 300 --no-recreate --scale worker=3 >/dev/null 2>&1 || miss "the third worker does not come back"

say "5. Redis restarted under load"
ids=()
for _ in 1 2 3 4; do ids+=("$(submit)"); done
eventually 300 has_left_the_queue "${ids[0]}" || miss "${ids[0]} does not begin"
before=$(metric animato_queue_depth)/$(metric animato_jobs_running)
compose restart redis >/dev/null 2>&1
eventually 120 curl -fsS "$URL/readyz" || miss "not ready after Redis came back"
say "    waiting/running before it: $before"
all_succeed "${ids[@]}"

say "6. down and up with a queue"
compose up -d --wait --no-recreate --scale worker=1 >/dev/null 2>&1 || miss "no single worker"
ids=()
for _ in 1 2 3; do ids+=("$(submit)"); done
eventually 300 has_left_the_queue "${ids[0]}" || miss "${ids[0]} does not begin"
waiting=$(metric animato_queue_depth)
((waiting > 0)) || miss "nothing waits"
compose down >/dev/null 2>&1
[[ -z $(docker ps -q --filter label=com.docker.compose.project=$PROJECT) ]] || miss "something still runs"
say "    down, while $waiting waited"
compose up -d --wait --wait-timeout 300 >"$WORK/up" 2>&1 || { cat "$WORK/up"; miss "it does not come up again"; }
say "    up: $(for id in "${ids[@]}"; do field "$id" 'a["status"]'; done | sort | uniq -c | xargs)"
all_succeed "${ids[@]}"
known=$(cat "$WORK/$first")
checked "$first"
[[ $(cat "$WORK/$first") == "$known" ]] || miss "the first result is another one now"

say "7. the count"
say "    submitted: $(metric animato_jobs_submitted_total); begun: $(metric animato_job_attempts_total)"
succeeded=$(curl -fsS "$URL/metrics" | sed -n 's/^animato_jobs_finished_total{.*succeeded.*} //p' | cut -d. -f1)
all=$(wc -l <"$WORK/submitted")
[[ $succeeded == "$all" && $(metric animato_jobs_submitted_total) == "$all" && $(metric animato_jobs_dead) == 0 ]] ||
    miss "succeeded $succeeded, dead $(metric animato_jobs_dead)"
say "    succeeded: $succeeded; dead: 0; running: $(metric animato_jobs_running); waiting: $(metric animato_queue_depth)"
say "green"
