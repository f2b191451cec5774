"""A sequence classifier for architectures that transformers has none of: their trunk, and one matrix on its states.

It is named and saved as transformers names and saves its own, so that another program needs its trunk's class and one
line for the head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput


def add_class(config: Any) -> None:
    """Makes ``AutoModelForSequenceClassification`` know the config's architecture, where it has a trunk by itself."""
    known = AutoModelForSequenceClassification._model_mapping
    if type(config) in known or type(config) not in AutoModel._model_mapping:
        return
    trunk: Any = AutoModel._model_mapping[type(config)]
    trunk = trunk[0] if isinstance(trunk, tuple) else trunk
    name = f"{trunk.__name__.removesuffix('Model')}ForSequenceClassification"
    base = trunk.__mro__[1]
    made: Any = type(name, (base,), {"__init__": _build, "forward": _forward, "__doc__": add_class.__doc__})
    made.config_class = type(config)
    AutoModelForSequenceClassification.register(type(config), made, exist_ok=True)


def _build(self: Any, config: Any) -> None:
    super(type(self), self).__init__(config)
    self.num_labels = config.num_labels
    setattr(self, self.base_model_prefix, AutoModel.from_config(config))
    self.score = nn.Linear(config.get_text_config().hidden_size, config.num_labels, bias=False)
    self.post_init()


def _forward(self: Any, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
    """Returns the scores of the last tokens that are no padding."""
    hidden = self.base_model(input_ids, attention_mask=attention_mask, **options).last_hidden_state
    real = input_ids != self.config.get_text_config().pad_token_id
    last = real.long().cumsum(-1).argmax(-1)
    rows = range(len(input_ids))
    return SequenceClassifierOutput(logits=self.score(hidden)[list(rows), last])
