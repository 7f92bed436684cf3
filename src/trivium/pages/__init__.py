"""What HTML pages of ours share: how data stands in them, what they may do, their colours."""
