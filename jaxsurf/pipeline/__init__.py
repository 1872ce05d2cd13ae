"""What commands do: all rooms put together. What a user does wrong is raised as `UserError`."""
