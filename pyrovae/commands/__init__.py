"""The commands of `pyrovae`: each module has the `main` of one command."""
