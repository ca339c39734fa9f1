"""The HTTP side: handlers read, check, call one verb and answer."""
