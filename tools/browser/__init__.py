"""Two pages that run models in a browser: `nox -s browser`."""
