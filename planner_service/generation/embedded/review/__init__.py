"""Corrections of one small model's replies; `review.ReplyReview` is the interface."""
