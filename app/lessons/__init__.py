"""Lessons and the glossary."""
