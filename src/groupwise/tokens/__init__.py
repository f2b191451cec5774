"""This package turns messages into token ids and back: chat templates, the renderer, the text of tokens, the steps of a
completion."""
