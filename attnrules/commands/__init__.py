"""One module per subcommand, each with a `command`; heavy imports happen inside the functions."""
