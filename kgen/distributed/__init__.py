"""One run on several devices: one process per device, led by the process of rank 0."""
