"""Corrections of one small model's replies; `review.ReplyCorrector` is the interface."""
