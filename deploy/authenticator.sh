#!/bin/bash
# Run by Postgres's image at the first start: the password with which PostgREST logs in.
psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username postgres --dbname postgres \
    -v password="$AUTHENTICATOR_PASSWORD" <<<"ALTER ROLE authenticator PASSWORD :'password'"
