"""What is known of each sample in a ``training_step`` that returns one number for the batch: its loss, its logits."""
