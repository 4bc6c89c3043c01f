"""Other designs of the same relay, written as their own documentation and tutorials recommend."""
