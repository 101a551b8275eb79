"""Recordings of sound: published ones, folders of your own, generated tones."""
