# Adds this package to a conserver's image, for its workers and its API. It starts as that does:
#
#   docker build -f deploy/worker.Dockerfile --build-arg CONSERVER_IMAGE=my-conserver:1.0 -t NAME .
ARG CONSERVER_IMAGE
FROM ${CONSERVER_IMAGE}
COPY pyproject.toml setup.cfg README.md LICENSE /opt/conserver-supabase-storage/
COPY conserver_supabase_storage /opt/conserver-supabase-storage/conserver_supabase_storage
RUN python -m pip install --no-cache-dir --root-user-action=ignore \
        '/opt/conserver-supabase-storage[cli,otel,prometheus]' && \
    python -c 'import conserver_supabase_storage as ours; assert ours.SupabaseStorage'
