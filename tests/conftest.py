"""What holds for every test, and the servers that tests may ask for; each is explained in its module."""

pytest_plugins = [
    "support.private",
    "support.leaks",
    "support.blocking",
    "support.s3_servers",
    "support.slurm",
]
