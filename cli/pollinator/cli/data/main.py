"""The job of this project: it runs wherever project.yaml sends it."""

import os
import socket
from pathlib import Path

project = Path(os.environ["PROJECT_DIR"])

print("Hello from", socket.gethostname())
print("Project:", project)
print("Process:", os.environ["COLONIES_PROCESS_ID"])

greeting = (project / "data" / "hello.txt").read_text()
print("Data:", greeting)

# What is written to result/ is brought back to cfs/result/ when the run has ended.
(project / "result" / "result.txt").write_text(greeting.upper() + "\n")
