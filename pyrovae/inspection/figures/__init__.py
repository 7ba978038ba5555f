"""One module a topic: tables as figures."""
