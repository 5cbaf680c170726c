"""Figures of trained models: generated pictures against real ones, translations against their truth."""
