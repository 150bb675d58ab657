#!/usr/bin/env bash
# Install the programs that some tests need and pip does not provide: Chromium and a Java runtime (Debian and Ubuntu).
# It never fails: it says what could not be installed, and `make test` counts the tests that are skipped without it.
set -uo pipefail
say() { printf 'packages: %s\n' "$*"; }

found() {
    for program in "$@"; do
        if command -v "$program" >/dev/null; then return 0; fi
    done
    return 1
}

missing=()
found chromium chromium-browser google-chrome || missing+=(chromium)
found java || missing+=(default-jre-headless)
if [ ${#missing[@]} -eq 0 ]; then
    say "Chromium and Java are here"
    exit 0
fi

if ! found apt-get; then
    say "there is no apt-get; install ${missing[*]} yourself, or some tests are skipped"
    exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        say "neither root nor sudo without a password: run 'apt install ${missing[*]}' yourself, or some tests are skipped"
        exit 0
    fi
    as_root=(sudo -n)
fi

say "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1
}
apt update || say "apt-get update failed; going on with the package lists that are here"
for package in "${missing[@]}"; do
    if apt install --no-install-recommends "$package"; then
        say "$package is installed"
    else
        say "$package could not be installed, so some tests are skipped; the last lines of apt-get:"
        tail -n 5 "$log"
    fi
done
exit 0
