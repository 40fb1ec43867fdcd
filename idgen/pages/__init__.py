"""Pages for people, in one file that a browser opens without a server: jinja2 templates."""
