"""The command line, ``conserver-supabase-storage``."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        import typer  # noqa: F401, PLC0415  an extra
    except ImportError:
        sys.exit("the command line needs: pip install 'conserver-supabase-storage[cli]'")
    try:
        from .cli import app  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(130)  # as everywhere else (cli/common.py), which is not there yet

    app()


if __name__ == "__main__":
    main()
