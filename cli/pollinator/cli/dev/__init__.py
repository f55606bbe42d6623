"""Running at every save: what ``pollinator dev`` is made of."""
