"""What Prometheus is told of a storage: how its servers are, and what the workers counted.

Needs prometheus_client (the extra ``prometheus``). No metric has a label that grows with the data.
"""

from .servers import ServersCollector
from .workers import WorkersCollector

__all__ = ["ServersCollector", "WorkersCollector"]
