#!/usr/bin/env bash
# Build or complete the environment: environment.sh VENV PYTHON
# uv does it in seconds where it is on PATH or can be installed into the environment; plain pip does it otherwise.
set -euo pipefail
venv=$1 python=$2 lock=requirements.lock
fail() { printf 'make: %s\n' "$@" >&2; exit 1; }

if [ ! -x "$venv/bin/python" ]; then
    command -v "$python" >/dev/null || fail "there is no '$python' here; name yours: make PYTHON=/path/to/python3 ..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 or newer is needed, '$python' is $("$python" -V 2>&1)" "name another one: make PYTHON=python3.11 ..."
    echo "making $venv with $("$python" -V 2>&1)"
    "$python" -m venv "$venv" 2>/dev/null || {
        rm -rf "$venv"
        if command -v uv >/dev/null; then uv venv -q --seed --python "$python" "$venv"
        else fail "'$python -m venv' failed: install the venv module (Debian, Ubuntu: apt install python3-venv) or uv"; fi
    }
fi
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$venv holds a Python older than 3.10: remove it and run make again with PYTHON=python3.11 or newer"

uv=""
if [ -x "$venv/bin/uv" ]; then uv="$venv/bin/uv"
elif command -v uv >/dev/null; then uv=uv
else
    pin=$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' "$lock" | head -n 1)
    echo "installing ${pin:-uv} into $venv"
    if "$venv/bin/python" -m pip install -q "${pin:-uv}"; then uv="$venv/bin/uv"
    else echo "uv cannot be installed here: going on with pip, which takes some minutes"; fi
fi

echo "installing what $lock pins"
if [ -n "$uv" ] && "$uv" pip install --python "$venv/bin/python" -r "$lock"; then exit 0; fi
if [ -n "$uv" ]; then echo "uv failed: trying again with pip"; fi
"$venv/bin/python" -m pip install -q -r "$lock"
