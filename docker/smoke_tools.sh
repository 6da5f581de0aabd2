# What docker/smoke.sh and docker/k8s/smoke.sh have in common; they source it, and say what URL, `call` and `clip` are.
WORK=$(mktemp -d)
STARTED=$SECONDS

say() { printf '%4d s  %s\n' $((SECONDS - STARTED)) "$*"; }

# eventually SECONDS COMMAND...: true as soon as the command is
eventually() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || return 1
        sleep 0.2
    done
}

# field ID EXPRESSION: a field of an animation, as Python sees `a`
field() {
    call "$URL/animations/$1" | python3 -c "import json, sys; a = json.load(sys.stdin); print($2)"
}
# The sample picture and `clip`; prints the id. By its key a request that is repeated is no second animation.
submit() {
    call "$URL/animations" -H "Idempotency-Key: $(python3 -c 'import uuid; print(uuid.uuid4())')" \
        -F source_image=@api/samples/source.png -F driving_video=@"$clip" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])' | tee -a "$WORK/submitted"
}
is() { [[ $(field "$1" 'a["status"]') == "$2" ]]; }
# foreseen FILE: the answer of a preflight, in short
foreseen() {
    python3 -c 'import json, sys; a = json.load(open(sys.argv[1])); print(a["driving"]["frame_count"], "frames,", a["mismatch"]["level"])' "$1"
}
