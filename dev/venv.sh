#!/bin/sh
# venv.sh REQUIREMENTS STAMP: makes .venv when it is missing and installs the packages of REQUIREMENTS.
# STAMP holds a checksum of the installed lists, so that an unchanged list costs no call of pip.
# All output goes to stderr: `make token` must print a token and nothing else on stdout.
set -eu
requirements=$1
stamp=$2
exec >&2

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

create() {
    found=
    for python in python3 python3.13 python3.12 python3.11 python3.14; do
        new_enough "$python" || continue
        found=$python
        if "$python" -m venv --clear .venv >.venv.log 2>&1; then rm -f .venv.log; return; fi
    done
    if [ -n "$found" ]; then
        cat .venv.log
        echo "$found could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
    else
        echo "Python 3.11 or newer is needed; none of python3, python3.11 ... python3.14 on PATH is."
    fi
    rm -f .venv.log
    exit 1
}

# One process works at a time: another one that finds the link of a living process waits, and then finds the work done.
until ln -s $$ .venv.lock 2>/dev/null; do
    if [ ! -L .venv.lock ]; then
        echo "The checkout $(pwd) cannot be written, and .venv has to be made in it."
        exit 1
    fi
    kill -0 "$(readlink .venv.lock)" 2>/dev/null || rm -f .venv.lock
    sleep 0.2
done
trap 'rm -f .venv.lock' EXIT

sum=$(cat requirements.txt "$requirements" constraints.txt | cksum)
if .venv/bin/python -c 'import pip' 2>/dev/null; then
    if [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ]; then touch "$stamp"; exit 0; fi
else
    create
fi
echo "installing the packages of $requirements into .venv (about half a minute, once)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
    --requirement "$requirements" --constraint constraints.txt
echo "$sum" >"$stamp"
