"""The jobs themselves: the steps of each, and how one that was cut off goes on. They are handed a lease, never take one."""
