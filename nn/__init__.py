"""Small networks and optimizers on the engine. Nothing is here yet; see CHANGELOG.md for what is."""

__all__: list[str] = []
