#!/bin/sh
# What the image `redis` promises: /data is the server's, which runs as user redis and listens everywhere.
set -eu

case "${1:-}" in -*) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    chown -R redis: .
    exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
[ "$1" != redis-server ] || set -- "$@" --protected-mode no
exec "$@"
