#!/usr/bin/env bash
# Builds an image twice without the cache and compares the layers: the same digests, or 1.
#   docker/reproducible.sh [api|worker|worker-cuda]...      needs docker; minutes for each build
# The digest of the whole image still differs: it says when it was built. SOURCE_DATE_EPOCH in the environment of a
# builder that knows it makes that the same too. Downloaded packages are those of requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
for target in "${@:-api}"; do
    layers=()
    for number in 1 2; do
        docker build --quiet --no-cache --file docker/Dockerfile --target "$target" \
            --build-arg TORCH_INDEX_URL="${TORCH_INDEX_URL:-}" --tag "animato-reproducible:$number" . >/dev/null
        layers+=("$(docker image inspect -f '{{join .RootFS.Layers "\n"}}' "animato-reproducible:$number")")
    done
    docker image rm "animato-reproducible:1" "animato-reproducible:2" >/dev/null
    if ! diff <(echo "${layers[0]}") <(echo "${layers[1]}"); then
        echo "$target: layers differ"
        exit 1
    fi
    echo "$target: $(wc -l <<<"${layers[0]}") layers, the same twice, $(sha256sum <<<"${layers[0]}" | head -c 16)"
done
