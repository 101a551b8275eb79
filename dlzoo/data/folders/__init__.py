"""Folders of files by class and split, or zip archives of them: pictures, recordings."""
