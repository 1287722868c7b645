"""The exchange rate: how many real images teach as much as a run's synthetic ones."""
