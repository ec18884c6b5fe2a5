"""Recipes: whole experiments in one command. A recipe is a function from settings to stages, and the engine runs stages."""
