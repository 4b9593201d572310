"""Whether machine, broker and deployment are as a worker needs them: asked, nothing changed."""
