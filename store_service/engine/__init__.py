"""The write path: one writer, its queue and batches, and the signals that wake waiting workers."""
