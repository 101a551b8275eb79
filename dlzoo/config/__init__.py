"""From the command line and YAML to a checked config, and from a config to the parts that it names."""
