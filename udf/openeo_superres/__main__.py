"""Entry point of the command line; says so in one line where its packages are missing."""

import sys


def run() -> None:
    """Run the command line, or name what it lacks."""
    try:
        from .cli import main  # noqa: PLC0415  (its packages come with an extra)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("openeo_superres"):
            raise
        print(  # noqa: T201
            f"Error: The command line needs {error.name}, which comes with the extra 'cli': "
            "pip install 'openeo-superres[cli]'.",
            file=sys.stderr,
        )
        sys.exit(2)
    main()


if __name__ == "__main__":
    run()
