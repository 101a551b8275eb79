"""General helpers that know nothing about models: files, downloads, archives, memory, formatting."""
