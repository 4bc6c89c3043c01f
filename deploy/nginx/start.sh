#!/bin/sh
# Starts nginx with the name server of its container, which finds `web` and `streams` by name: Docker's is 127.0.0.11,
# Podman's is the gateway of the network. NGINX_RESOLVER names others, separated by spaces.
set -eu
servers=${NGINX_RESOLVER:-}
if [ -z "$servers" ]; then
    # The first one only: Podman lists those of the machine behind its own, nginx takes turns, and they know no `web`. An
    # IPv6 address needs brackets.
    servers=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)
fi
if [ -z "$servers" ]; then
    echo 'no name server: /etc/resolv.conf has none, and NGINX_RESOLVER is not set' >&2
    exit 1
fi
# Resolved again every few seconds, so that more containers and restarted ones are found (nginx >= 1.27.3).
echo "resolver $servers valid=5s ipv6=off;" >/tmp/resolver.conf
exec nginx -c /etc/nginx/unbroken/nginx.conf -g 'daemon off;' "$@"
