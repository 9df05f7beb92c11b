# Applies this package's migrations to DATABASE_URL, and ends; runs any other command that it is given.
ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE}
COPY pyproject.toml setup.cfg README.md LICENSE /src/
COPY conserver_supabase_storage /src/conserver_supabase_storage
RUN python -m pip install --no-cache-dir --root-user-action=ignore '/src[cli,prometheus]'
USER 1000
CMD ["python", "-m", "conserver_supabase_storage", "migrate"]
