"""From rows of tokens to rows of the fact tables: `forward` on the device, `flow` around it to the commit."""
