"""What goes wrong while a local Supabase is started, used or stopped."""


class LocalSupabaseError(Exception):
    """A server is missing, did not come up, or is gone. The text says which and why."""
