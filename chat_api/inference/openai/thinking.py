"""Thinking that a server leaves in the text, in tags at its very beginning: `<think>…</think>`."""

from __future__ import annotations

# Each model has its own: Qwen and DeepSeek, Claude, Gemini, others, Magistral, Seed, Kimi, gpt-oss.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
MAX_SPACE = 100  # characters of white space before the tag


class ThinkTags:
    """Parts an answer's text from the thinking before it, however the tags are cut into pieces.

    Thinking that is never closed is thinking to the end. White space beside the tags is dropped. A tag that
    comes after other text is text.
    """

    __slots__ = ("_began", "_closing", "_held", "_past", "over")

    def __init__(self) -> None:
        self._held = ""  # may be the beginning of a tag
        self._closing = ""  # the tag that ends the thinking; "" outside
        self._began = False  # inside, and there was something other than white space
        self._past = False  # behind the closing tag
        self.over = False  # all that follows is text

    def feed(self, text: str) -> tuple[str, str]:
        """The thinking and the text that a piece completes, in this order."""
        text = self._held + text
        self._held = ""
        if self.over:
            return "", text
        if self._closing:
            return self._think(text)
        if self._past:
            return "", self._begin_text(text)
        return self._begin(text)

    def rest(self) -> tuple[str, str]:
        """What is held back, as thinking and text, because something other than text follows, or nothing."""
        held, self._held = self._held, ""
        if self._closing:
            return held, ""
        self.over = True
        return "", held

    def skip(self) -> str:
        """What is held back, as text, because thinking comes beside the text: no tag begins it any more."""
        held = self.rest()[1]
        self.over = bool(held.strip())
        self._past = True
        return held if self.over else ""

    def _begin(self, text: str) -> tuple[str, str]:
        start = text.lstrip()
        for tag, closing in TAGS.items():
            if start.startswith(tag):
                self._closing = closing
                return self._think(start[len(tag) :])
        if len(text) - len(start) <= MAX_SPACE and any(tag.startswith(start) for tag in TAGS):
            self._held = text
            return "", ""
        self.over = True
        return "", text

    def _think(self, text: str) -> tuple[str, str]:
        if not self._began:
            text = text.lstrip()
            self._began = bool(text)
        closing = self._closing
        if (close := text.find(closing)) >= 0:
            self._closing, self._past = "", True
            return text[:close], self._begin_text(text[close + len(closing) :])
        first = text.find(closing[0], max(0, len(text) - len(closing)))
        if first >= 0:
            cut = next((place for place in range(first, len(text)) if closing.startswith(text[place:])), None)
            if cut is not None:
                self._held, text = text[cut:], text[:cut]
        return text, ""

    def _begin_text(self, text: str) -> str:
        text = text.lstrip()
        self.over = bool(text)
        return text
