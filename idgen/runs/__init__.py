"""From config files to a built run: parser, checks, stored config, freezing, the folder."""
