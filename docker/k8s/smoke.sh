#!/usr/bin/env bash
# The manifests on a cluster, after `kubectl apply -k`: used through the Service, scaled, a worker killed and one taken away
# in mid-job, everything restarted under load. Prints what it sees; the first miss ends it with 1.
#   ANIMATO_API_KEY=ank_... docker/k8s/smoke.sh     of the current context; some minutes; not beside real use
# Workers are scaled by hand, which KEDA would undo: where it runs, it is paused for the time of the test.
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${ANIMATO_API_KEY:?the key of a client, of the form ank_...}"
NAMESPACE=${SMOKE_NAMESPACE:-animato}
PORT=${SMOKE_PORT:-18080}
URL=http://127.0.0.1:$PORT
clip=api/samples/driving.mp4
source docker/smoke_tools.sh

miss() {
    say "MISS: $*"
    in_namespace get pods -o wide >&2 || true
    in_namespace get events --field-selector type=Warning >&2 || true
    exit 1
}
in_namespace() { kubectl --namespace "$NAMESPACE" "$@"; }
keda() { in_namespace annotate --overwrite scaledobject/animato-worker "$@" >/dev/null; }
cleared() {
    keda autoscaling.keda.sh/paused- || true
    [[ ! ${workers:-} ]] || in_namespace scale deployment/animato-worker --replicas="$workers" >/dev/null || true
    [[ ! ${forwarder:-} ]] || kill "$forwarder" 2>/dev/null || true
    rm -rf "$WORK"
}
trap cleared EXIT

# A forwarded port ends with the pod that it leads to; the next connection goes to another.
forward() {
    trap 'kill $! 2>/dev/null; exit' TERM
    while true; do
        in_namespace port-forward service/animato-api "$PORT:80" >>"$WORK/forward" 2>&1 &
        wait $! || true
        sleep 0.5
    done
}
call() { curl -fsS --retry 20 --retry-all-errors --retry-delay 1 -H "Authorization: Bearer $ANIMATO_API_KEY" "$@" 2>>"$WORK/curl"; }
is_drawing() { [[ $(field "$1" 'a["status"] == "processing" and a["progress"]["frames_done"] > 0') == True ]]; }
# worker_of ID: the pod of a worker that says that it has it
worker_of() {
    local pod
    for pod in $(in_namespace get pods -l app.kubernetes.io/component=worker -o name); do
        in_namespace logs "$pod" >"$WORK/log" 2>/dev/null || continue
        if grep animation_claimed "$WORK/log" >"$WORK/claims" && grep -q "$1" "$WORK/claims"; then echo "$pod"; fi
    done | tail -n 1
}
all_succeed() {
    local id
    for id; do
        eventually 600 is "$id" succeeded || miss "$id is $(field "$id" 'a["status"], a["error"]') after 10 minutes"
        call "$URL/animations/$id/result" -o "$WORK/result"
        [[ $(field "$id" 'a["result"]["size_bytes"]') == $(stat -c %s "$WORK/result") ]] || miss "$id: the result has another size"
        say "    $id succeeded, attempt $(field "$id" 'a["attempt"]'), $(stat -c %s "$WORK/result") bytes"
    done
}
# scaled N: so many workers, all ready
scaled() {
    in_namespace scale deployment/animato-worker --replicas="$1" >/dev/null
    in_namespace rollout status deployment/animato-worker --timeout=300s >/dev/null || miss "no $1 workers"
}
# taken OPTION...: a worker's pod deleted, by these options of kubectl, while it draws; sets `victim`, and `ids` of all that were submitted with it
taken() {
    local pod
    ids=()
    for _ in 1 2 3 4; do ids+=("$(submit)"); done
    victim=${ids[0]}
    eventually 300 is_drawing "$victim" || miss "$victim is $(field "$victim" 'a["status"]') and was not seen drawing"
    pod=$(worker_of "$victim")
    [[ $pod ]] || miss "no worker says that it has $victim"
    in_namespace delete "$pod" --wait=false "$@" >/dev/null 2>&1
    say "    $pod deleted (${*:-in peace}) while $victim had $(field "$victim" 'a["progress"]["frames_done"], "of", a["progress"]["frames_total"], "frames"')"
}

say "1. what is there"
say "    $(kubectl version 2>/dev/null | grep -i '^server')"
for deployment in api worker preflight; do
    in_namespace rollout status "deployment/animato-$deployment" --timeout=300s >/dev/null || miss "animato-$deployment is not ready"
    pods=$(in_namespace get pods -l app.kubernetes.io/component=$deployment -o 'jsonpath={range .items[*]}{.status.phase} {.status.containerStatuses[0].restartCount} restarts; {end}')
    say "    $deployment: $pods"
done
keda autoscaling.keda.sh/paused=true || say "    no ScaledObject"
forward &
forwarder=$!
eventually 60 call "$URL/readyz" || miss "the API is not ready: $(cat "$WORK/forward")"
code=$(curl -sS -o /dev/null -w '%{http_code}' "$URL/animations")
[[ $code == 401 ]] || miss "without a key: $code"
say "    ready; without a key: $code"

say "2. one animation and one preflight through the Service"
all_succeed "$(submit)"
call "$URL/animations/preflight" -F source_image=@api/samples/source.png -F driving_video=@"$clip" >"$WORK/preflight"
say "    preflight: $(foreseen "$WORK/preflight")"

say "3. three workers, one killed in mid-job"
workers=$(in_namespace get deployment/animato-worker -o 'jsonpath={.spec.replicas}')
scaled 3
taken --grace-period=0 --force
all_succeed "${ids[@]}"
(($(field "$victim" 'a["attempt"]') >= 2)) || miss "$victim was not begun again"

say "4. one taken away in peace"
taken
all_succeed "${ids[@]}"
say "    $victim was finished or handed over: attempt $(field "$victim" 'a["attempt"]')"

say "5. everything restarted under load"
ids=()
for _ in 1 2 3 4; do ids+=("$(submit)"); done
in_namespace rollout restart deployment >/dev/null
for _ in 1 2 3 4; do ids+=("$(submit)"); done
for deployment in api worker preflight; do
    in_namespace rollout status "deployment/animato-$deployment" --timeout=600s >/dev/null || miss "animato-$deployment does not come back"
done
say "    all new"
all_succeed "${ids[@]}"

say "6. the count"
all=$(wc -l <"$WORK/submitted")
for state in succeeded failed queued processing; do
    say "    $state: $(call "$URL/animations?status=$state&limit=100" | python3 -c '
import json, sys
ours = set(open(sys.argv[1]).read().split())
print(len([a for a in json.load(sys.stdin)["data"] if a["id"] in ours]), "of", len(ours))' "$WORK/submitted")"
done | tee "$WORK/count"
grep -q "succeeded: $all of $all" "$WORK/count" || miss "not all succeeded"
say "green"
