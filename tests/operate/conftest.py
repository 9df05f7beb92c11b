"""Where the commands find their servers."""

import pytest

from ..home import Supabase
from .running import Environment


@pytest.fixture
def environment(stack: Supabase) -> Environment:
    """With a cache."""
    return {
        "SUPABASE_REST_URL": stack.rest_url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "REDIS_URL": stack.redis_url,
    }
