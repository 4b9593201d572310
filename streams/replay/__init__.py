"""What the log says about the past, read only: nothing here owns a producer or joins a group."""
