"""Terminal manners: whom to ask, what to print, how to end. The verbs themselves are in the rooms."""
