"""Text that the project writes itself, about one invented world, from a seed.

Documents and chats share the world, so that a model tuned on the chats can use what the base model
learned from the documents, while the chats have a manner (openers, lists, refusals) of their own.
"""

from pipeline.text.generated.chats import write_chat
from pipeline.text.generated.documents import write_document

__all__ = ["write_chat", "write_document"]
