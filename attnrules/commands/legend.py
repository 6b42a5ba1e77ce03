"""The words of the cards, each explained: `attnrules show --legend`."""

from __future__ import annotations

# Sections are of docs/method.md.
_WORDS = {
    "L0H3.17": "feature 17 of the output of head 3 in layer 0; L0.17 of a whole layer's attention",
    "active": "a feature is active at a token where its activation is above 0",
    "fires on": "tokens where it is active so many times as often as anywhere",
    "reads": "tokens attended to, by their share of what brings the activation (section 9)",
    "says": "tokens that it makes the model say, with the evidence for that (section 12)",
    "[a] … [b] →": "a rule: where a was seen before (the key) and b is now (the query), it is active",
    "↛": "the same, but the key holds the feature down",
    "['a'] at -1": "a stated rule: the token just before is a (section 13)",
    "V": "what a key adds to the feature per unit that attention carries of it (section 2)",
    "S": "how much the query attends to the key, by their weights (section 2)",
    "as read": "the rule taken literally: a key anywhere before, a query now",
    "precision": "of the positions where the rule holds, the share where the feature is active",
    "recall": "of the positions where the feature is active, the share where the rule holds",
    "[0.41, 0.58]": "a 95% interval, from resampling test sequences",
    "lift": "precision divided by the share of active positions",
    "test positions": "every position after BOS of sequences that mining did not see",
    "paper": "the paper's examples: the strongest of a feature against as many silent ones, far easier",
    "average precision": "how well a list of rules orders positions; a guess gets the share that is active",
    "ceiling": "the same where every input feature is known: what no list of rules can beat by much",
    "F1 at threshold": "F1 where the threshold was chosen on other sequences",
    "current token": "a baseline: what the token alone predicts; a list should beat it",
    "absence": "a distractor that draws attention away from the key: the feature falls when it is inserted",
    "counting": "the feature compares how often two things occurred",
    "confirmed": "borne out on the model by changing its input, beyond neutral tokens and chance (section 6)",
}


def legend_lines() -> list[str]:
    """Return each word with what it means."""
    return [
        *(f"{word:18} {meaning}" for word, meaning in _WORDS.items()),
        "",
        "docs/method.md says how each number is computed",
    ]
