#!/bin/sh
# The secrets of docker-compose.yml: writes what is missing into .env (or the file given), keeps what is there.
#   docker/secrets.sh [FILE]
set -eu
umask 077
file=${1:-$(dirname "$0")/../.env}
touch "$file"
chmod 600 "$file"
[ -z "$(tail -c 1 "$file")" ] || echo >>"$file"

# 24 random bytes as hex: letters and digits only, so that it may stand in a URL.
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

for name in ANIMATO_REDIS_PASSWORD ANIMATO_STORAGE_ACCESS_KEY_ID ANIMATO_STORAGE_SECRET_ACCESS_KEY \
            ANIMATO_METRICS_TOKEN GRAFANA_ADMIN_PASSWORD; do
    if grep -q "^$name=." "$file"; then
        echo "$name: kept"
    else
        echo "$name=$(secret)" >>"$file"
        echo "$name: made"
    fi
done
