"""A finished run as an HTTP API, with a page to try it on."""
