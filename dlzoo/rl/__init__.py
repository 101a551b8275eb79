"""Where agents live and what they remember: environments and replay."""
