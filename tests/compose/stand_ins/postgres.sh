#!/bin/sh
# What the image `postgres` promises: the first start makes the cluster, with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB,
# on a server that listens on no address; then the command runs as user postgres, listening everywhere.
set -eu

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres: "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "${POSTGRES_PASSWORD:-}" ] || { echo "Error: POSTGRES_PASSWORD is not set." >&2; exit 1; }
    user=${POSTGRES_USER:-postgres}
    umask 077
    printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
    initdb --pgdata "$PGDATA" --username "$user" --pwfile /tmp/password
    rm /tmp/password
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    printf "\nlisten_addresses = '*'\n" >> "$PGDATA/postgresql.conf"
    pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses=''" start
    [ "${POSTGRES_DB:-$user}" = postgres ] || createdb --username "$user" --maintenance-db postgres "${POSTGRES_DB:-$user}"
    pg_ctl --pgdata "$PGDATA" --wait --mode fast stop
fi
exec "$@"
