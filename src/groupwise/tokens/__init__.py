"""Messages and token ids: chat templates, the renderer, the text of tokens, the steps of a completion."""
