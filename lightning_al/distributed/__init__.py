"""What several processes must agree on: ranks, shards, randomness."""
