"""What the command `repertory` begins with: nothing heavy, so that Ctrl-C is quiet from the start."""

import sys


def main() -> None:
    """Run the command line of this process, also when it is interrupted while it loads."""
    try:
        from .cli import main as run

        # Also while it loads what it needs for a command, before that minds signals itself.
        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
